"""Architectures whose code looks blocking but yields wherever it would block."""
