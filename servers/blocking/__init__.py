"""Architectures in which each connection occupies a process or thread that blocks on it."""
