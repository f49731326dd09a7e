"""HTTP/1.1 from scratch (RFC 9110, RFC 9112), both sides, without I/O."""
