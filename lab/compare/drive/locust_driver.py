"""One turn of load by locust, as a Round: what its users get of each architecture.

Locust costs some ten times openloop's CPU per request, so most servers outrun it, and nobody
gets a place by it; but it is what `lab load` and many others drive, and a second generator that
agrees is the best witness of the first. One process, up in a second; every answer is verified.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from lab.compare.drive.drivers import Mark, NotDriven, Trial, latency_of, own_cost
from lab.compare.result import Round

LOCUST: Final = "locust"
_USERS: Final = Path(__file__).parents[3] / "loadtest" / "trial_users.py"
_PATIENCE: Final = 60.0  # seconds for locust to start and to end


def drive_locust(turn: Trial, mark: Mark) -> Round:
    """Put locust on it, in a closed loop; return the round without the servers' cost.

    `mark` is called around locust's whole life: it asks nothing while it starts.
    """
    url = urlsplit(turn.url)
    host = f"{url.scheme}://{url.netloc}"
    path, users = turn.url.removeprefix(host), str(turn.connections)
    with tempfile.TemporaryDirectory(prefix="chainlab-locust-") as folder:
        body, record = Path(folder, "body"), Path(folder, "record.json")
        body.write_bytes(turn.body)
        command = [
            *(sys.executable, "-m", "locust", "-f", str(_USERS), "--headless", "--only-summary"),
            *("--loglevel", "ERROR", "--users", users, "--spawn-rate", users),
            *("--host", host, "--path", path, "--body", str(body)),
            *("--seconds", f"{turn.seconds:g}", "--timeout", f"{turn.timeout:g}"),
            *("--record", str(record)),
        ]
        mark()
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=turn.seconds + _PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NotDriven("locust did not end") from None
        mark()
        if not record.exists():
            said = done.stderr.strip().splitlines() or ["it said nothing"]
            raise NotDriven(f"locust: {said[-1]}")
        return _read(json.loads(record.read_text()), turn)


def _read(found: dict[str, Any], turn: Trial) -> Round:
    seconds, answered = found["seconds"], found["answered"]
    user, kernel = found["user"], found["kernel"]
    return Round(
        driver=LOCUST,
        seconds=seconds,
        answered=answered,
        rate=answered / seconds,
        latency=latency_of(found["latency"]),
        asked=turn.connections,
        established=turn.connections,
        least=None,
        mean=None,
        errors=found["errors"],
        wrong=found["wrong"],
        evidence=[],
        generator_busy=(user + kernel) / seconds,
        cost=own_cost(user, kernel, answered),
    )
