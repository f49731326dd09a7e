"""Sans-IO protocols for all programs: HTTP/1.1 and FastCGI. Bytes in, events out, bytes out."""
