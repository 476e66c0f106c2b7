"""``edgectl register``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, changes, command
from edgectl.codec import plain
from edgectl.records import Approval, ModelVersion
from edgectl.workflow import build


@click.command()
@click.option("--provider", metavar="NAME", help="Where to register.")
@click.option("--approve", "decision", flag_value="approved", help="Approve the last version.")
@click.option("--reject", "decision", flag_value="rejected", help="Reject the last version.")
@command
@changes
def register(app: App, provider: str | None, decision: Approval | None) -> None:
    """Check the model, make its variants and register the version.

    Runs the gates, the golden set and the accuracy check of every variant; a miss stops here,
    with the measured number. With --approve or --reject the version that was registered last
    gets that decision instead.
    """
    session = app.session()
    if decision is not None:
        version = build.approve(session, decision, provider)
    else:
        version = build.register(session, provider)
    app.out.one(plain(version), _text(version))


def _text(version: ModelVersion) -> str:
    lines = [f"{version.name} {version.version}  {version.digest}  {version.approval}"]
    for variant in version.variants:
        accuracy = "" if variant.accuracy is None else f"  accuracy {variant.accuracy:.4f}"
        lines.append(
            f"  {variant.precision}  {variant.size_bytes} bytes{accuracy}"
            f"  max error {variant.max_abs_error:.2g}"
        )
    return "\n".join(lines)
