"""The health check of a container's part: a real request, as its clients would send it.

The entry point writes the request to a file (`write`): where to connect, the bytes to send (HTTP
or FastCGI), and what the answer must contain. The check (`ask`) runs every few seconds in every
container, so it imports almost nothing and runs without `site`:

    python3 -IS /srv/chainlab/lab/chain/containers/health.py
"""

import socket
import sys

FILE = "/tmp/question"
PATIENCE = 3.0
"""Seconds to wait for each piece of the answer."""


def write(address: str, wanted: bytes, request: bytes, *, taken_is_well: bool) -> None:
    """Save the request for `ask`; `address` is a socket path or a port of this container.

    `taken_is_well`: a timeout counts as healthy. If a kept connection pins a worker, the front may
    hold all workers, and then this connection waits in the backlog of a healthy server.
    """
    head = f"{address} {int(taken_is_well)} ".encode() + wanted
    with open(FILE, "wb") as file:  # noqa: PTH123 - importing pathlib costs more than the check
        file.write(head + b"\n" + request)


def ask() -> str:
    """Send the request; return what is wrong, or "" if the part is healthy."""
    with open(FILE, "rb") as file:  # noqa: PTH123
        head, _, request = file.read().partition(b"\n")
    where, taken_is_well, wanted = head.split(b" ", 2)
    path = where.decode()
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX if path.startswith("/") else socket.AF_INET) as client:
            client.settimeout(PATIENCE)
            client.connect(path if path.startswith("/") else ("127.0.0.1", int(path)))
            client.sendall(request)
            while wanted not in answer and (data := client.recv(65536)):
                answer += data
    except TimeoutError:
        return "" if taken_is_well == b"1" else f"no answer within {PATIENCE:g} s"
    except OSError as error:
        return str(error)
    return "" if wanted in answer else f"answered {answer[:200]!r}"


if __name__ == "__main__":
    sys.exit(ask() or 0)
