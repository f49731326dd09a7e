"""`chain-gateway --config FILE`, or `--listen ADDRESS --fastcgi ADDRESS`: the command line."""

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from chainlab.transport import ListenError
from chainlab.transport.logfile import LogError
from chainlab.transport.networks import Networks
from chainlab.transport.option import AddressType, NetworkType
from chainlab.transport.table import ConfigError
from gateway.config import LEVELS, Config, Log, Timeouts, load_config, simple_config
from gateway.master import Master

SECONDS = click.FloatRange(min=0, min_open=True, max=86400)
TIMEOUTS = {
    "connect": "Time to connect to an upstream address; then the next one is tried, at last 504.",
    "queue": "Time a request waits for a free upstream connection; then 503.",
    "send": "Time a peer may accept no bytes; then 504 for an upstream; a client is disconnected.",
    "read": "Time an upstream may stay silent before or during a response; then 504.",
    "idle": "Time a kept connection may be idle; then it is closed.",
    "header": "Time to receive a whole request head; then 408.",
    "body": "Time a client may stay silent in the middle of a request body; then 408.",
    "grace": "Time running requests have to finish after SIGQUIT; then they are aborted.",
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
    help="Read the whole configuration from a file; SIGHUP reloads it.",
)
@click.option(
    "--listen",
    type=AddressType(),
    multiple=True,
    metavar="ADDRESS",
    help="Listen for HTTP on HOST:PORT or unix:PATH; repeatable.",
)
@click.option(
    "--fastcgi",
    type=AddressType(),
    multiple=True,
    metavar="ADDRESS",
    help="Forward to this FastCGI backend; repeat for several equal backends.",
)
@click.option(
    "--http",
    type=AddressType(),
    multiple=True,
    metavar="ADDRESS",
    help="Forward to this HTTP/1.1 backend; repeat for several equal backends.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    metavar="N",
    help="Number of serving processes, each with an event loop.",
)
@click.option(
    "--trusted",
    type=NetworkType(),
    multiple=True,
    metavar="NETWORK",
    help="Believe X-Forwarded-For, -Proto, -Host, -Port, Forwarded and X-Real-IP from these front "
    'ends: 10.0.0.0/8, ::1 or "unix"; repeatable. From others they are dropped.',
)
@click.option("--access-log", default="-", metavar="FILE", help='Path, "-" for stdout, or "off".')
@click.option(
    "--log-format",
    type=click.Choice(["combined", "json"]),
    default="combined",
    help="Format of the access log; json includes the time spent in each part.",
)
@click.option("--error-log", default="-", metavar="FILE", help='Path, or "-" for stderr.')
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    help="Least important level in the error log: error (failed requests), warn, or info.",
)
@click.option(
    "--server-timing",
    is_flag=True,
    help="Send Server-Timing (time spent in each part) to clients, X-Request-Start to upstreams.",
)
@click.option(
    "--traceparent",
    is_flag=True,
    help="Continue the client's trace or start a new one (W3C Trace Context).",
)
@click.option(
    "--request-buffering/--no-request-buffering",
    default=None,
    show_default="on for FastCGI",
    help="Forward a request once its whole body is here, so that slow uploads hold no worker.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Validate the configuration, report every mistake, and exit without serving.",
)
@timeout_options
@click.pass_context
def main(ctx: click.Context, /, path: Path | None, **options: Any) -> None:
    """Serve HTTP in front of FastCGI or HTTP backends.

    \b
    SIGHUP   reload the configuration without dropping requests; if invalid, keep the old one
    SIGUSR1  reopen the log files
    SIGQUIT  finish running requests, then exit
    SIGTERM  exit now
    SIGINT   like SIGQUIT; the second time, like SIGTERM
    """
    try:
        config = _from_file(ctx, path) if path else _from_flags(options)
        if options["check"]:
            click.echo("the configuration is valid")
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
        raise click.UsageError(f"{given[0]} cannot be combined with --config; set it in {path}")
    return load_config(path)


def _from_flags(options: dict[str, Any]) -> Config:
    if not options["listen"]:
        raise click.UsageError("no address to listen on; give --config FILE or --listen ADDRESS")
    if bool(options["fastcgi"]) == bool(options["http"]):
        raise click.UsageError(
            "one kind of backend is required; give either --fastcgi ADDRESS or --http ADDRESS"
        )
    protocol = "fastcgi" if options["fastcgi"] else "http"
    return simple_config(
        options["listen"],
        protocol,
        options[protocol],
        request_buffering=options["request_buffering"],
        workers=options["workers"],
        trusted=Networks.parse(options["trusted"]),
        server_timing=options["server_timing"],
        traceparent=options["traceparent"],
        timeouts=Timeouts(**{item.name: options[item.name] for item in fields(Timeouts)}),
        log=Log(
            options["access_log"],
            options["log_format"],
            options["error_log"],
            options["log_level"],
        ),
    )
