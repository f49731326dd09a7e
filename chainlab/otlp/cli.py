"""`chain-otlp LOG…`: the command line."""

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="chainlab", prog_name="chain-otlp")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--endpoint",
    metavar="URL",
    help="The collector's OTLP/HTTP, as http://127.0.0.1:4318; else OTEL_EXPORTER_OTLP_ENDPOINT.",
)
@click.option("--from-start", is_flag=True, help="Send what the logs hold already, too.")
def main(logs: tuple[Path, ...], endpoint: str | None, from_start: bool) -> None:
    """Send the requests in access logs to an OpenTelemetry collector, as spans.

    LOG is what `chain-gateway --traceparent --log-format json --access-log LOG` writes, and
    `fcgi-worker --access-log LOG`. Rotation is followed; a collector that is away is waited for.
    OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES and their like hold.

    \b
    SIGTERM, SIGINT  send what has come, then go
    """
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise click.BadParameter(f"{endpoint!r} is no URL; write http://HOST:PORT",
                                 param_hint="--endpoint")  # fmt: skip
    try:
        from chainlab.otlp.export import Export
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"{error.name} is not installed; run: pip install 'chainlab[otlp]'"
        ) from None
    try:
        Export(logs, endpoint, from_start=from_start).run()
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
