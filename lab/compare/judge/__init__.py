"""Rules, verdicts, rankings, and the differences between two results."""
