"""Measures resource usage, system calls and memory, and collects samples."""
