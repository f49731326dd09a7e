"""Starts the targets and puts load on them, round by round."""
