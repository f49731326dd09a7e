"""Helpers shared by several test folders: real processes, raw clients, scripted peers."""
