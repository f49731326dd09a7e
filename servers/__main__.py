"""`python -m servers ID --listen ADDRESS [--workers N]`: one architecture, serving the application.

The listener is bound here and passed to the server, so that the error for a busy address is the
same everywhere. "listening on ADDRESS" goes to stderr once connections will be served. The signal
handler only calls `stop`, which wakes the server.
"""

import logging
import os
import signal
import sys

import click

from chainlab.transport import (
    Address,
    AddressError,
    ListenError,
    bind_listener,
    bound_address,
    parse_address,
    remove_socket,
)
from servers.common.program import ProgramEnded
from servers.common.registry import SPECS, Options, Server


def _read_address(_context: click.Context, _parameter: click.Parameter, value: str) -> Address:
    try:
        return parse_address(value)
    except AddressError as error:
        raise click.BadParameter(str(error)) from None


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("name", metavar="ID", type=click.Choice(sorted(SPECS)))
@click.option(
    "--listen",
    "address",
    callback=_read_address,
    required=True,
    metavar="ADDRESS",
    help="unix:PATH or HOST:PORT; port 0 lets the kernel choose.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 512),
    default=Options().workers,
    metavar="N",
    help="Concurrent requests, for servers with a fixed number of workers.",
)
def main(name: str, address: Address, workers: int) -> None:
    """Serve the application with one architecture.

    \b
    SIGTERM, SIGQUIT, SIGINT  accept no more clients, finish running requests (ten seconds), exit
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s [%(levelname)s] %(process)d: %(message)s",
    )
    spec = SPECS[name]
    reason = spec.unavailable()
    if reason is not None:
        raise click.ClickException(f"{name} cannot run here: {reason}")
    os.environ["CHAINLAB_ARCHITECTURE"] = name  # shown by /whoami
    try:
        listener = bind_listener(address)
    except ListenError as error:
        raise click.ClickException(str(error)) from None
    where = bound_address(listener)
    server = spec.load()(listener, Options(workers))
    _stop_on_signals(server)
    click.echo(f"listening on {where}", err=True)
    try:
        server.run()
    except ProgramEnded as error:
        raise click.ClickException(str(error)) from None
    finally:
        remove_socket(listener)
        server.close()


def _stop_on_signals(server: Server) -> None:
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.stop())


if __name__ == "__main__":
    main(prog_name="python -m servers")
