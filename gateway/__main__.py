"""`python -m gateway`: the same as `chain-gateway`."""

from gateway.cli import main

main(prog_name="chain-gateway")
