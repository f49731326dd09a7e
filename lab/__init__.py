"""The `lab` command: start, swap, load and inspect the chain."""
