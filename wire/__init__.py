"""Sans-IO protocols, shared by every room: HTTP/1.1 and FastCGI. Bytes in, events out, bytes out."""
