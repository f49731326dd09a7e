"""`python -m loadtest.openloop URL --rate R`: the command line."""

import json
import sys
from pathlib import Path
from typing import Literal

import click

from loadtest.openloop.plan import Plan, PlanError, make_request, parse_target
from loadtest.openloop.processes import DriverFailed, run
from loadtest.openloop.reference import fetch_body
from loadtest.openloop.report import lines


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("url")
@click.option("--rate", type=float, metavar="R", help="Requests per second of all processes.")
@click.option("--closed", is_flag=True, help="No rate: each connection sends when answered.")
@click.option("--arrivals", type=click.Choice(["constant", "poisson"]), default="constant",
              help="Evenly spaced, or random like independent clients.")  # fmt: skip
@click.option("--seed", type=int, default=0, help="Seed of the Poisson arrivals.")
@click.option("--duration", type=float, default=10.0, metavar="S", help="Seconds.")
@click.option("--requests", "limit", type=int, default=100_000_000, help="Requests at most.")
@click.option("--connections", type=int, default=8, metavar="N", help="In all processes.")
@click.option("--processes", type=int, default=1, metavar="P", help="Driver processes.")
@click.option("--timeout", type=float, default=5.0, metavar="S",
              help="Seconds from a request's intended time until it fails.")  # fmt: skip
@click.option("--close", is_flag=True, help="Use a new connection for each request.")
@click.option("--status", type=int, default=200, help="The status every answer must have.")
@click.option("--expect", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              metavar="FILE", help="The exact body every answer must have; "
              "default: that of one answer fetched before the load.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON.")
def main(
    url: str,
    rate: float | None,
    closed: bool,
    arrivals: Literal["constant", "poisson"],
    seed: int,
    duration: float,
    limit: int,
    connections: int,
    processes: int,
    timeout: float,
    close: bool,
    status: int,
    expect: Path | None,
    as_json: bool,
) -> None:
    """Load URL (http://HOST:PORT/PATH or unix:SOCKET:/PATH) with GET at intended times.

    Latency counts from a request's intended time, so it shows when a server stalls. Every answer is
    verified. The exit code is 1 if an answer was wrong or a request got none.

    \b
    python -m loadtest.openloop http://127.0.0.1:8080/hello --rate 5000 --connections 64
    python -m loadtest.openloop http://127.0.0.1:8080/hello --closed
    python -m loadtest.openloop.check    compare the driver with wrk
    """
    if closed != (rate is None):
        raise click.UsageError(
            "--closed: a closed loop has no rate; leave --rate out"
            if closed
            else "--rate: missing; give requests per second, or --closed"
        )
    try:
        target = parse_target(url)
        request = make_request(target, keep=not close)
        body = expect.read_bytes() if expect else fetch_body(target, request, status, timeout)
        plan = Plan(
            target=target, request=request, expected=body, status=status, rate=rate,
            arrivals=arrivals, seed=seed, duration=duration, limit=limit, connections=connections,
            processes=processes, timeout=timeout, keep=not close,
        )  # fmt: skip
        result = run(plan)
    except (PlanError, DriverFailed) as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(result.as_json(plan), indent=2))
    else:
        click.echo("\n".join(lines(plan, result)))
    sys.exit(0 if result.right else 1)


if __name__ == "__main__":
    main(prog_name="python -m loadtest.openloop")
