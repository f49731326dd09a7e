"""Sans-IO protocols, shared by all: HTTP/1.1 and FastCGI. Bytes in, events out, bytes out."""
