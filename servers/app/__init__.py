"""The one application that every architecture serves; standard library only, nothing of ours.

`routes` maps a path to a handler and knows no server; `wsgi` is its adapter for WSGI servers;
`CONTRACT.md` states each answer byte for byte and `contract` checks it over the network.
"""
