"""`chain-gateway --config FILE`, or `--listen ADDRESS --fastcgi ADDRESS`: the command line."""

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from chainlab.transport import ListenError
from chainlab.transport.logfile import LogError
from chainlab.transport.option import AddressType
from gateway.config import (
    Config,
    ConfigError,
    Log,
    Timeouts,
    parse_config,
    read_config,
    simple_config,
)
from gateway.master import Master

SECONDS = click.FloatRange(min=0, min_open=True, max=86400)
TIMEOUTS = {
    "connect": "For a connection to an upstream; then the next address, then 504.",
    "queue": "For a free connection to an upstream; then 503.",
    "send": "For a peer that takes no bytes.",
    "read": "Longest silence of an upstream that owes a response; then 504.",
    "idle": "For a kept connection without a request.",
    "header": "For a whole request head; then 408.",
    "body": "Longest silence of a client in the middle of a request body; then 408.",
    "grace": "What SIGQUIT gives running requests.",
}


def timeout_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each timeout."""
    for name, text in reversed(TIMEOUTS.items()):
        option = "--grace" if name == "grace" else f"--{name}-timeout"
        default = getattr(Timeouts(), name)
        command = click.option(
            option, name, type=SECONDS, default=default, metavar="SECONDS", help=text
        )(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="chainlab", prog_name="chain-gateway")
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Read everything from a file; SIGHUP reads it again.",
)
@click.option(
    "--listen",
    type=AddressType(),
    multiple=True,
    metavar="ADDRESS",
    help="HOST:PORT or unix:PATH to take HTTP on; may be repeated.",
)
@click.option(
    "--fastcgi",
    type=AddressType(),
    multiple=True,
    metavar="ADDRESS",
    help="A FastCGI back end; repeated: several that serve the same.",
)
@click.option(
    "--http",
    type=AddressType(),
    multiple=True,
    metavar="ADDRESS",
    help="An HTTP/1.1 back end; repeated: several that serve the same.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    metavar="N",
    help="Processes that serve, an event loop in each.",
)
@click.option("--access-log", default="-", metavar="FILE", help='A path, "-" for stdout, or "off".')
@click.option(
    "--log-format",
    type=click.Choice(["combined", "json"]),
    default="combined",
    help="Of the access log; json tells the time spent in each part.",
)
@click.option("--error-log", default="-", metavar="FILE", help='A path, or "-" for stderr.')
@click.option(
    "--server-timing",
    is_flag=True,
    help="Answer with Server-Timing, where the time went; tell upstreams X-Request-Start.",
)
@click.option(
    "--traceparent",
    is_flag=True,
    help="Take part in traces (W3C Trace Context): continue the client's, or begin one.",
)
@click.option(
    "--check", is_flag=True, help="Read the configuration, say whether it is good, and stop."
)
@timeout_options
@click.pass_context
def main(ctx: click.Context, /, path: Path | None, **options: Any) -> None:
    """Serve HTTP in front of FastCGI and HTTP back ends.

    \b
    SIGHUP   reload the configuration without dropping a request; reject an invalid one
    SIGUSR1  reopen the log files
    SIGQUIT  finish running requests, then exit
    SIGTERM  exit now
    SIGINT   like SIGQUIT; the second time, like SIGTERM
    """
    try:
        config = _from_file(ctx, path) if path else _from_flags(options)
        if options["check"]:
            click.echo("the configuration is good")
            return
        master = Master(config, path)
    except (ConfigError, ListenError, LogError) as error:
        raise click.ClickException(str(error)) from None
    sys.exit(master.run())


def _from_file(ctx: click.Context, path: Path) -> Config:
    given = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in ("path", "check")
        and ctx.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{given[0]} beside --config; write it into {path}")
    return parse_config(read_config(path), str(path))


def _from_flags(options: dict[str, Any]) -> Config:
    if not options["listen"]:
        raise click.UsageError("nothing to listen on; give --config FILE or --listen ADDRESS")
    if bool(options["fastcgi"]) == bool(options["http"]):
        raise click.UsageError("where to? give either --fastcgi ADDRESS or --http ADDRESS")
    protocol = "fastcgi" if options["fastcgi"] else "http"
    return simple_config(
        options["listen"],
        protocol,
        options[protocol],
        workers=options["workers"],
        server_timing=options["server_timing"],
        traceparent=options["traceparent"],
        timeouts=Timeouts(**{item.name: options[item.name] for item in fields(Timeouts)}),
        log=Log(options["access_log"], options["log_format"], options["error_log"]),
    )
