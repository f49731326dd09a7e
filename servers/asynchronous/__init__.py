"""Architectures in which the kernel does the copying and says when it is done."""
