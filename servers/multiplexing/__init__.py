"""Architectures in which one thread waits for many descriptors at once."""
