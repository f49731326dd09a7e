"""`python -m loadtest.openloop.check`: compares the driver with wrk on its own server. Run by hand.

Each round has three trials: wrk; the driver's closed loop with as many connections; its open loop
at the rate that wrk reached. Both loops must get within 10 % of wrk (medians of the rounds' ratios,
because single values vary widely on a shared machine). The server must be slower than the
generators, or the comparison measures the generators: hence a server that waits before it answers.
On an otherwise idle machine, `--path /hello` compares them on a server that computes instead.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from typing import Final

import click

from loadtest.openloop.plan import Plan, make_request, parse_target
from loadtest.openloop.processes import run
from loadtest.openloop.reference import fetch_body

WITHIN: Final = 0.1


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--server", default="epoll-lt", metavar="ID", help="An id of `python -m servers`.")
@click.option("--path", default="/wait?ms=5", help="The path to request.")
@click.option("--connections", type=click.IntRange(1, 10_000), default=16)
@click.option("--seconds", type=click.IntRange(1, 60), default=1, help="Per trial.")
@click.option("--rounds", type=click.IntRange(1, 50), default=11)
def main(server: str, path: str, connections: int, seconds: int, rounds: int) -> None:
    """Compare the driver's throughput with wrk's; exit code 1 if they differ by over 10 %."""
    if shutil.which("wrk") is None:
        raise click.ClickException("wrk is not installed: sudo apt install wrk")
    closed: list[float] = []
    opened: list[float] = []
    with _running(server) as address:
        url = f"http://{address}{path}"
        target = parse_target(url)
        request = make_request(target)
        plan = Plan(
            target=target,
            request=request,
            expected=fetch_body(target, request, 200, 5),
            duration=seconds,
            connections=connections,
        )
        _wrk(url, connections, 1)  # warm up
        for number in range(1, rounds + 1):
            theirs = _wrk(url, connections, seconds)
            closed.append(_achieved(plan) / theirs)
            opened.append(_achieved(replace(plan, rate=theirs)) / theirs)
            click.echo(
                f"round {number}: wrk {theirs:.0f}/s; "
                f"of that, closed loop {closed[-1]:.2f}, open loop at wrk's rate {opened[-1]:.2f}"
            )
    good = all(abs(median(ratios) - 1) <= WITHIN for ratios in (closed, opened))
    verdict = "within" if good else "not within"
    click.echo(
        f"median: closed {median(closed):.2f}, open {median(opened):.2f}: {verdict} {WITHIN:.0%}"
    )
    sys.exit(0 if good else 1)


def _achieved(plan: Plan) -> float:
    result = run(plan)
    if result.wrong or result.errors:
        raise click.ClickException(f"wrong answers {result.wrong}, errors {result.errors}")
    return result.achieved


def _wrk(url: str, connections: int, seconds: int) -> float:
    """Return wrk's answers per second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "5", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not found or not float(found[1]):
        raise click.ClickException(f"wrk failed: {done.stdout}{done.stderr}")
    return float(found[1])


@contextmanager
def _running(server: str) -> Iterator[str]:
    """Run an architecture until the block ends; yield its address."""
    command = [sys.executable, "-m", "servers", server, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            output = ""
            for line in process.stderr:
                output += line
                if line.startswith("listening on "):
                    yield line.split()[-1]
                    return
            raise click.ClickException(f"{server} did not start: {output.strip()}")
        finally:
            process.terminate()
            process.communicate(timeout=15)


if __name__ == "__main__":
    main(prog_name="python -m loadtest.openloop.check")
