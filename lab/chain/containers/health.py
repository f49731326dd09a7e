"""Is this container's part well? It is asked as its clients would ask it, for a real answer.

The question was written down when the part was started (`Question.store`): where to connect, the
bytes to send, HTTP or FastCGI, and what the answer has to hold. This runs every second in every
container, so it imports next to nothing and runs without `site`:

    python3 -IS /srv/chainlab/lab/chain/containers/health.py
"""

import socket
import sys

FILE = "/tmp/question"
PATIENCE = 3.0
"""Seconds."""


def write(address: str, wanted: bytes, request: bytes, *, taken_is_well: bool) -> None:
    """Write down what to ask; `address` is a path or a port of this container.

    `taken_is_well`: where a kept connection pins a worker the front may hold them all, and then a
    connection that waits its turn is as good an answer.
    """
    head = f"{address} {int(taken_is_well)} ".encode() + wanted
    with open(FILE, "wb") as file:  # noqa: PTH123 - pathlib costs more than the question
        file.write(head + b"\n" + request)


def ask() -> str:
    """Ask; return what is wrong, nothing when all is well."""
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
        return "" if taken_is_well == b"1" else "no answer in time"
    except OSError as error:
        return str(error)
    return "" if wanted in answer else f"answered {answer[:200]!r}"


if __name__ == "__main__":
    sys.exit(ask() or 0)
