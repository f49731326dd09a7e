"""`python -m fcgi_worker`: the same as `fcgi-worker`."""

from fcgi_worker.cli import main

main()
