"""One suite for every server architecture: what they all have to survive, in whichever language."""
