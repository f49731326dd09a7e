"""`python -m chainlab.otlp` is the same as `chain-otlp`."""

from chainlab.otlp.cli import main

main()
