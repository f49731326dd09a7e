"""Start, swap and verify the chain, as native processes or in containers."""
