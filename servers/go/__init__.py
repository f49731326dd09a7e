"""The Go programs, and the Python code that starts them."""
