"""The commands that this provider adds to ``edgectl``; the server is imported only to run it."""

from __future__ import annotations

from pathlib import Path

import click

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command(context_settings={"auto_envvar_prefix": "EDGECTL_HUB"})
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("hub-data"),
    envvar="EDGECTL_HUB_DATA",
    show_default=True,
    show_envvar=True,
    help="Folder that the hub owns.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    envvar="EDGECTL_HUB_HOST",
    show_default=True,
    show_envvar=True,
    help="Address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8280,
    envvar="EDGECTL_HUB_PORT",
    show_default=True,
    show_envvar=True,
    help="Port to listen on; 0 takes a free one, written to hub.json.",
)
@click.option(
    "--tls-cert",
    type=_FILE,
    envvar="EDGECTL_HUB_TLS_CERT",
    show_envvar=True,
    help="Certificate chain (PEM) to serve HTTPS with.",
)
@click.option(
    "--tls-key",
    type=_FILE,
    envvar="EDGECTL_HUB_TLS_KEY",
    show_envvar=True,
    help="Its private key (PEM).",
)
@click.option(
    "--client-ca",
    type=_FILE,
    envvar="EDGECTL_HUB_CLIENT_CA",
    show_envvar=True,
    help="Authority (PEM) of devices' client certificates; their common name is the device.",
)
@click.option(
    "--gateway-token/--no-gateway-token",
    default=None,
    envvar="EDGECTL_HUB_GATEWAY_TOKEN",
    show_envvar=True,
    help="Let the token in DATA/gateway-token act for every device (default: as set before, off).",
)
@click.option(
    "--poll",
    metavar="DURATION",
    envvar="EDGECTL_HUB_POLL",
    show_envvar=True,
    help="What devices wait between polls, like 30s, 5m or 1h (default: as set before, 30s).",
)
@click.option(
    "--public-url",
    default="",
    metavar="URL",
    envvar="EDGECTL_HUB_PUBLIC_URL",
    show_envvar=True,
    help="How devices reach the hub when a proxy stands in front of it.",
)
@click.option(
    "--max-artifact",
    type=click.IntRange(min=1),
    default=1 << 30,
    metavar="BYTES",
    envvar="EDGECTL_HUB_MAX_ARTIFACT",
    show_default=True,
    show_envvar=True,
    help="Largest artifact that is taken.",
)
def hub(  # noqa: PLR0917 - click passes options by name
    data: Path,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    client_ca: Path | None,
    gateway_token: bool | None,
    poll: str | None,
    public_url: str,
    max_artifact: int,
) -> None:
    """Run the update server of the self-hosted stack.

    The first start writes the operator's password to DATA/admin-password. The hub speaks Eclipse
    hawkBit's interfaces: devices under /DEFAULT/controller, operators under /rest/v1.
    """
    from edgectl_selfhosted.hub.config import HubConfig, Quotas  # noqa: PLC0415 - --help is cheap
    from edgectl_selfhosted.hub.serve import HubStartError, serve  # noqa: PLC0415 - same

    config = HubConfig(
        data=data,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        client_ca=client_ca,
        gateway_token=gateway_token,
        poll_s=_seconds(poll) if poll else None,
        public_url=public_url.rstrip("/"),
        quotas=Quotas(artifact_bytes=max_artifact),
    )
    try:
        code = serve(config)
    except HubStartError as exc:
        raise click.ClickException(str(exc)) from exc
    raise SystemExit(code)


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def _seconds(text: str) -> float:
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    try:
        value = float(number) * _UNITS[unit]
    except ValueError as exc:
        raise click.BadParameter(f"'{text}' is not a duration like 30s, 5m or 1h") from exc
    if not 1 <= value < 360_000:
        raise click.BadParameter(f"'{text}' is not between 1s and 99h")
    return value


if __name__ == "__main__":
    hub()
