"""`python -m otlp` is the same as `chain-otlp`."""

from otlp.cli import main

main()
