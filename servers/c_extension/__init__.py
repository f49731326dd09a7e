"""The server whose loop and HTTP are an extension of CPython, written in C."""
