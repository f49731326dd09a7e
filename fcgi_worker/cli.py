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
    help="unix:PATH or HOST:PORT to take FastCGI connections on; port 0 lets the kernel choose.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    default=4,
    metavar="N",
    help="Child processes; each runs one request at a time.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 65536),
    default=4096,
    metavar="N",
    help="Kept connections at most; the limit of descriptors may lower it.",
)
@click.option(
    "--read-timeout",
    type=SECONDS,
    default=60.0,
    metavar="SECONDS",
    help="Longest silence of a web server in the middle of a request.",
)
@click.option(
    "--write-timeout",
    type=SECONDS,
    default=60.0,
    metavar="SECONDS",
    help="Longest wait for a web server that does not take the answer.",
)
@click.option(
    "--grace",
    type=SECONDS,
    default=30.0,
    metavar="SECONDS",
    help="What SIGQUIT gives running requests before they are ended.",
)
@click.option(
    "--server-timing",
    is_flag=True,
    help="Answer with Server-Timing: how long the request waited, and the application took.",
)
@click.option(
    "--access-log",
    default="off",
    metavar="FILE",
    help='JSON lines with those times: a path, "-" for stdout, or "off".',
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

    MODULE:CALLABLE names it (the current folder is importable): myproject.wsgi:application.

    \b
    SIGUSR1  open the access log again
    SIGTERM  finish at once
    SIGQUIT  finish what runs, then go
    SIGINT   as SIGQUIT; twice: as SIGTERM

    Idle kept connections hold no child: a request on any of them is taken by any idle child.
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
