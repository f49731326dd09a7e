"""Architectures in which each connection has a process or a thread that sleeps with it."""
