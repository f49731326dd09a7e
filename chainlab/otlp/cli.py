"""`chain-otlp LOG…`: the command line."""

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="chainlab", prog_name="chain-otlp")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--endpoint",
    metavar="URL",
    help="OTLP/HTTP collector, e.g. http://127.0.0.1:4318; else OTEL_EXPORTER_OTLP_ENDPOINT.",
)
@click.option(
    "--from-start", is_flag=True, help="Also send the requests that are already in the logs."
)
def main(logs: tuple[Path, ...], endpoint: str | None, from_start: bool) -> None:
    """Send the requests in access logs to an OpenTelemetry collector, as spans.

    LOG is written by `chain-gateway --traceparent --log-format json --access-log LOG` or by
    `fcgi-worker --access-log LOG`. chain-otlp follows log rotation, and retries while the collector
    is unavailable. OpenTelemetry's variables apply, such as OTEL_EXPORTER_OTLP_HEADERS and
    OTEL_RESOURCE_ATTRIBUTES.

    \b
    SIGTERM, SIGINT  send what the logs have so far, then exit
    """
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise click.BadParameter(f"{endpoint!r} is not a URL; use http://HOST:PORT",
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
