"""FastCGI 1.0, whole, both sides, without I/O."""
