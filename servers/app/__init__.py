"""The application that every architecture serves; it imports only the standard library.

`routes` maps a path to a handler, independent of any server; `wsgi` adapts it to WSGI servers.
`CONTRACT.md` specifies each answer byte for byte, and `contract` checks it over the network.
"""
