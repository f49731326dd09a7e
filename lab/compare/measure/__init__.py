"""Samples, resource usage, system calls and memory."""
