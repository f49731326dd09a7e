"""The Go programs, and the Python that starts them."""
