"""Is locust well? `python -m loadtest.health` asks its page; without one, looks at its port.

The master listens for workers on port 5557, and a worker is connected to that. (/proc/net/tcp:
port in hexadecimal, state 0A listening, 01 established.)
"""

import re
import sys
import urllib.request
from pathlib import Path

_PAGE = "http://127.0.0.1:8089/"
_TO_WORKERS = re.compile(r":15B5 .* 0A |:15B5 01 ")


def main() -> int:
    """Return 0 when it is well."""
    try:
        with urllib.request.urlopen(_PAGE, timeout=3) as answer:
            return 0 if answer.status == 200 else 1
    except OSError:  # a worker, or --headless
        tables = (Path("/proc/net") / name for name in ("tcp", "tcp6"))
        return 0 if any(_TO_WORKERS.search(table.read_text()) for table in tables) else 1


if __name__ == "__main__":
    sys.exit(main())
