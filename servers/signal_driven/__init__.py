"""Architectures in which the kernel sends a signal when a descriptor is ready."""
