"""`fcgi-worker APPLICATION --bind ADDRESS`: the command line."""

import os
import re
import sys
from typing import Any, Final

import click

from chainlab.transport import ListenError
from chainlab.transport.logfile import LogError
from chainlab.transport.networks import NetworkError, Networks
from chainlab.transport.option import AddressType, NetworkType
from chainlab.transport.socket_file import SocketFile, parse_mode, parse_owner
from fcgi_worker.master import Master
from fcgi_worker.pool import Forked
from fcgi_worker.settings import Settings

SECONDS: Final = click.FloatRange(min=0, min_open=True, max=86400)
OR_NEVER: Final = click.FloatRange(min=0, max=86400)
COUNT: Final = click.IntRange(min=0, max=1 << 40)

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class SizeType(click.ParamType[int]):
    """A number of bytes, with K, M or G for the powers of 1024."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number of bytes."""
        match = re.fullmatch(r"([0-9]{1,15})([KMG]?)", str(value).upper())
        if match is None:
            self.fail(f"{value!r} is no size; write for example 200M", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


class ModeType(click.ParamType[int]):
    """The mode of a file, in octal digits."""

    name = "mode"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the mode."""
        try:
            return value if isinstance(value, int) else parse_mode(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class OwnerType(click.ParamType[tuple[int, int]]):
    """USER, USER:GROUP or :GROUP."""

    name = "owner"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Return the ids of user and group; -1 for one that is not given."""
        try:
            return value if isinstance(value, tuple) else parse_owner(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


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
    "--socket-mode",
    type=ModeType(),
    metavar="MODE",
    help="Mode of the unix socket in octal digits, such as 0660; the umask decides otherwise.",
)
@click.option(
    "--socket-owner",
    type=OwnerType(),
    metavar="USER[:GROUP]",
    help="Owner of the unix socket; USER and GROUP are names or numbers, and USER may be empty.",
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
    "--script-name",
    default="",
    metavar="PATH",
    help="Path under which the web server mounts the application, such as /shop.",
)
@click.option(
    "--trusted",
    type=NetworkType(),
    multiple=True,
    metavar="NETWORK",
    help="Believe X-Forwarded-*, Forwarded and X-Real-IP of requests from these addresses, such as "
    '10.0.0.0/8, or of a web server on a unix socket: "unix". Repeatable.',
)
@click.option(
    "--request-timeout",
    type=OR_NEVER,
    default=0.0,
    metavar="SECONDS",
    help="Kill the child of a request that runs longer, and log its Python stack; 0: never.",
)
@click.option(
    "--max-requests",
    type=COUNT,
    default=0,
    metavar="N",
    help="Replace a child after this many requests; 0: never.",
)
@click.option(
    "--max-requests-jitter",
    type=COUNT,
    default=0,
    metavar="N",
    help="Add a random number up to this to --max-requests, a different one for each child.",
)
@click.option(
    "--max-memory",
    type=SizeType(),
    default=0,
    metavar="SIZE",
    help="Replace a child whose resident memory is larger, for example 500M; 0: never.",
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
    "--idle-timeout",
    type=OR_NEVER,
    default=600.0,
    metavar="SECONDS",
    help="Close kept connections without a request for so long; 0: never.",
)
@click.option(
    "--grace",
    type=SECONDS,
    default=30.0,
    metavar="SECONDS",
    help="Time running requests have to finish after SIGQUIT or SIGHUP; then they are killed.",
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
def main(**options: Any) -> None:
    """Serve a WSGI application over FastCGI, from N processes.

    MODULE:CALLABLE is, for example, myproject.wsgi:application, importable from the current folder.
    A factory is called once per process: 'myproject:create_app("production")'.

    \b
    SIGHUP   replace the processes by new ones that load the application anew
    SIGUSR1  reopen the access log
    SIGQUIT  finish running requests, then exit
    SIGTERM  exit now
    SIGINT   like SIGQUIT; the second time, like SIGTERM

    An idle kept connection occupies no child; any idle child takes its next request.

    FCGI_WEB_SERVER_ADDRS in the environment lists the addresses that may connect over TCP.
    """
    settings = make_settings(options)
    try:
        sys.exit(Master(settings).run())
    except (ListenError, LogError) as error:
        raise click.ClickException(str(error)) from None
    except Forked as forked:
        child = forked.child
    sys.exit(child.run())


def make_settings(options: dict[str, Any]) -> Settings:
    """Return the settings from the options by name; raises click.UsageError."""
    options = dict(options)
    mode, owner = options.pop("socket_mode"), options.pop("socket_owner")
    if mode is not None or owner is not None:
        if not options["bind"].path:
            raise click.UsageError("--socket-mode and --socket-owner need --bind unix:PATH")
        user, group = owner or (-1, -1)
        options["socket_file"] = SocketFile(-1 if mode is None else mode, user, group)
    mount = options["script_name"].rstrip("/")
    if mount and not mount.startswith("/"):
        raise click.UsageError(f"--script-name {mount!r}: write a path, for example /{mount}")
    options["script_name"] = mount
    options["trusted"] = Networks.parse(options["trusted"])
    return Settings(web_servers=_web_servers(), **options)


def _web_servers() -> Networks:
    """Return the addresses in FCGI_WEB_SERVER_ADDRS (FastCGI 1.0 section 3.2)."""
    listed = os.environ.get("FCGI_WEB_SERVER_ADDRS", "").split(",")
    try:
        return Networks.parse(text.strip() for text in listed if text.strip())
    except NetworkError as error:
        raise click.UsageError(f"FCGI_WEB_SERVER_ADDRS in the environment: {error}") from None
