"""Runs one trial by locust and returns a Round.

Locust costs some ten times openloop's CPU per request, so most servers outrun it, and its rounds
do not count for the ranking. But `lab load` and many others use locust, and a second generator that
agrees is good evidence for the first. One process, up in a second; every answer is verified.
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


def drive_locust(trial: Trial, mark: Mark) -> Round:
    """Run a closed-loop trial by locust; return the round without the servers' cost.

    The `mark` calls surround locust's whole run; it sends nothing while it starts.
    """
    url = urlsplit(trial.url)
    host = f"{url.scheme}://{url.netloc}"
    path, users = trial.url.removeprefix(host), str(trial.connections)
    with tempfile.TemporaryDirectory(prefix="chainlab-locust-") as folder:
        body, record = Path(folder, "body"), Path(folder, "record.json")
        body.write_bytes(trial.body)
        command = [
            *(sys.executable, "-m", "locust", "-f", str(_USERS), "--headless", "--only-summary"),
            *("--loglevel", "ERROR", "--users", users, "--spawn-rate", users),
            *("--host", host, "--path", path, "--body", str(body)),
            *("--seconds", f"{trial.seconds:g}", "--timeout", f"{trial.timeout:g}"),
            *("--record", str(record)),
        ]
        mark()
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=trial.seconds + _PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NotDriven("locust did not end") from None
        mark()
        if not record.exists():
            output = done.stderr.strip().splitlines() or ["no output"]
            raise NotDriven(f"locust: {output[-1]}")
        return _read(json.loads(record.read_text()), trial)


def _read(found: dict[str, Any], trial: Trial) -> Round:
    seconds, answered = found["seconds"], found["answered"]
    user, kernel = found["user"], found["kernel"]
    return Round(
        driver=LOCUST,
        seconds=seconds,
        answered=answered,
        rate=answered / seconds,
        latency=latency_of(found["latency"]),
        asked=trial.connections,
        established=trial.connections,
        least=None,
        mean=None,
        errors=found["errors"],
        wrong=found["wrong"],
        evidence=[],
        generator_busy=(user + kernel) / seconds,
        cost=own_cost(user, kernel, answered),
    )
