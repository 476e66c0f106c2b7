"""``edgectl package``."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl.cli.app import App, command
from edgectl.codec import plain
from edgectl.package.read import export_folder
from edgectl.package.registry import pull, push
from edgectl.workflow import build


@click.command()
@click.option("--push", "push_to", metavar="REF", help="Push it to an OCI registry afterwards.")
@click.option("--pull", "pull_from", metavar="REF", help="Fetch a package instead of building.")
@click.option(
    "--export",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write its files and signature into a new folder, for `model_signing verify`.",
)
@click.option("--insecure", is_flag=True, help="Allow plain HTTP to the registry.")
@command
def package(
    app: App, push_to: str | None, pull_from: str | None, folder: Path | None, insecure: bool
) -> None:
    """Build and sign the package of the registered version.

    The package is an OCI artifact in CNCF ModelPack form in `.edgectl/store`. The same inputs
    give the same digest on any machine.
    """
    session = app.session()
    if pull_from is not None:
        digest = pull(pull_from, session.layout, insecure=insecure)
        result, text = {"digest": digest}, f"{digest}  pulled from {pull_from}"
    else:
        built = build.package(session)
        digest = built.digest
        result = plain(built)
        text = f"{built.application} {built.version}  {digest}  {built.size_bytes} bytes, signed"
    if push_to is not None:
        pushed = push(session.layout, digest, push_to, insecure=insecure)
        app.out.progress(f"pushed to {push_to}, {pushed.uploaded_bytes} bytes sent")
    if folder is not None:
        export_folder(session.layout, digest, folder)
        app.out.progress(f"written to {folder}")
    app.out.one(result, text)
