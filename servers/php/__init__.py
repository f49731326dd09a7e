"""The PHP programs, and the Python code that starts them."""
