"""`python -m lab`: the same as `lab`."""

from lab.cli import main

main(prog_name="lab")
