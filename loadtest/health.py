"""Locust health check: fetches its web page; without one (worker, --headless) checks connections.

The master listens for workers on port 5557, and a worker is connected to that port (/proc/net/tcp:
ports in hexadecimal, state 0A listening, 01 established). Runs every few seconds, so it imports
almost nothing and runs without `site`: `python3 -IS loadtest/health.py`.
"""

import socket
import sys

PAGE = ("127.0.0.1", 8089)
MASTER = ":15B5 "
LISTENING, ESTABLISHED = " 0A ", " 01 "


def page_answers() -> bool:
    """Whether the page answers 200; OSError if there is no page."""
    with socket.create_connection(PAGE, timeout=3) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return client.recv(64).split(b" ")[1:2] == [b"200"]


def is_connected() -> bool:
    """Whether a master listens on this host, or a worker is connected to one."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as lines:  # noqa: PTH123 - importing pathlib costs more than the check
            if any(MASTER in line and (LISTENING in line or ESTABLISHED in line) for line in lines):
                return True
    return False


if __name__ == "__main__":
    try:
        well = page_answers()
    except OSError:
        well = is_connected()
    sys.exit(not well)
