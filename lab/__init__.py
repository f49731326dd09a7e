"""The command line: starts, swaps, loads and shows the chain."""
