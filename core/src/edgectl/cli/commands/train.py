"""``edgectl train``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, changes, command
from edgectl.codec import plain
from edgectl.workflow import build


@click.command()
@click.option("--provider", metavar="NAME", help="Where to train.")
@command
@changes
def train(app: App, provider: str | None) -> None:
    """Train the model.

    Runs the project's `train.command`; any framework will do, as long as it leaves an ONNX file.
    """
    trained = build.train(app.session(), provider)
    metrics = ", ".join(f"{name} {value:g}" for name, value in sorted(trained.metrics.items()))
    app.out.one(plain(trained), f"{trained.model.name}: {metrics or 'no metrics'}")
