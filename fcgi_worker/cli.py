"""`fcgi-worker APPLICATION --bind ADDRESS`: the command line."""

import logging
import sys

import click

from chainlab.transport import Address, ListenError
from chainlab.transport.logfile import LogError
from chainlab.transport.option import AddressType
from fcgi_worker.master import Master
from fcgi_worker.settings import Settings

SECONDS = click.FloatRange(min=0, min_open=True, max=86400)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="chainlab", prog_name="fcgi-worker")
@click.argument("application", metavar="MODULE:CALLABLE")
@click.option(
    "--bind",
    type=AddressType(),
    required=True,
    metavar="ADDRESS",
    help="Listen for FastCGI on unix:PATH or HOST:PORT; port 0 lets the kernel choose.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=4,
    metavar="N",
    help="Number of child processes; each runs one request at a time.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 65536),
    default=4096,
    metavar="N",
    help="Maximum kept connections; the descriptor limit may lower it.",
)
@click.option(
    "--read-timeout",
    type=SECONDS,
    default=60.0,
    metavar="SECONDS",
    help="Time a web server may stay silent in the middle of a request.",
)
@click.option(
    "--write-timeout",
    type=SECONDS,
    default=60.0,
    metavar="SECONDS",
    help="Time to wait for a web server that accepts no bytes of the response.",
)
@click.option(
    "--grace",
    type=SECONDS,
    default=30.0,
    metavar="SECONDS",
    help="Time running requests have to finish after SIGQUIT; then they are killed.",
)
@click.option(
    "--server-timing",
    is_flag=True,
    help="Add Server-Timing to responses: the request's wait and the application's run time.",
)
@click.option(
    "--access-log",
    default="off",
    metavar="FILE",
    help='Log each request as a line of JSON: path, "-" for stdout, or "off".',
)
def main(
    application: str,
    bind: Address,
    workers: int,
    connections: int,
    read_timeout: float,
    write_timeout: float,
    grace: float,
    server_timing: bool,
    access_log: str,
) -> None:
    """Serve a WSGI application over FastCGI, from N processes.

    MODULE:CALLABLE is, for example, myproject.wsgi:application, importable from the current folder.

    \b
    SIGUSR1  reopen the access log
    SIGQUIT  finish running requests, then exit; SIGHUP does the same
    SIGTERM  exit now
    SIGINT   like SIGQUIT; the second time, like SIGTERM

    An idle kept connection occupies no child; any idle child takes its next request.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s [%(levelname)s] %(process)d: %(message)s",
    )
    settings = Settings(
        application, bind, workers, connections, read_timeout, write_timeout, grace,
        server_timing, access_log,
    )  # fmt: skip
    try:
        master = Master(settings)
    except (ListenError, LogError) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(master.run())
