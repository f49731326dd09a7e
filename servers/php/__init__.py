"""The PHP programs, and the Python that starts them."""
