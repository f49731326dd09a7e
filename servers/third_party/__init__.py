"""Servers that others wrote, made to start and stop in the manner of the house."""
