"""One suite of the contract for every architecture, in whichever language."""
