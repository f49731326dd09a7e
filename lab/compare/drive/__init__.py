"""Start the targets and put load on them, round by round."""
