"""Architectures whose code reads as if it blocked, and gives way where it would."""
