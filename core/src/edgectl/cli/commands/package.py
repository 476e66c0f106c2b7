"""``edgectl package``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgectl.cli.app import App, changes, command
from edgectl.codec import plain
from edgectl.dryrun import DryRun
from edgectl.package.deltas import find_deltas
from edgectl.package.read import export_folder
from edgectl.package.registry import pull, push
from edgectl.records import Package
from edgectl.session import Session
from edgectl.workflow import build
from edgectl.workflow.bundle import Bundled, BundleWish, bundle_package, bundle_release, note_bundle
from edgectl.workflow.deltas import delta_text, make_delta_from


def bundle_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of ``--bundle``."""
    for option in reversed(
        (
            click.option(
                "--bundle",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Write it as a signed release into one file, for `edge-agent import`.",
            ),
            click.option(
                "-t",
                "--target",
                "targets",
                multiple=True,
                metavar="NAME",
                help="With --bundle: the target whose provider numbers the release and keeps it.",
            ),
            click.option(
                "--release",
                type=click.IntRange(min=1),
                metavar="NUMBER",
                help="With --bundle: a release that the provider has, in place of a new one.",
            ),
            click.option(
                "--release-number",
                type=click.IntRange(min=1),
                metavar="NUMBER",
                help="With --bundle: the new release's number, where the provider is out of reach.",
            ),
            click.option(
                "--force-unapproved",
                is_flag=True,
                help="With --bundle: take a version that nobody approved; the journal says so.",
            ),
        )
    ):
        function = option(function)
    return function


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
@click.option(
    "--delta-from",
    "earlier",
    multiple=True,
    metavar="PACKAGE",
    help="Make deltas for devices with this earlier package: a release's number, a version, a "
    "digest, or HOST/REPOSITORY:TAG. May be given several times.",
)
@click.option("--insecure", is_flag=True, help="Allow plain HTTP to the registry.")
@bundle_options
@command
@changes
def package(
    app: App,
    *,
    push_to: str | None,
    pull_from: str | None,
    folder: Path | None,
    earlier: tuple[str, ...],
    insecure: bool,
    bundle: Path | None,
    targets: tuple[str, ...],
    release: int | None,
    release_number: int | None,
    force_unapproved: bool,
) -> None:
    """Build and sign the package of the registered version.

    The package is an OCI artifact in CNCF ModelPack form in `.edgectl/store`. The same inputs
    give the same digest on any machine.

    With --delta-from, devices that have the earlier package fetch the difference only. Deltas lie
    beside the package and do not change its digest; make them before the release is deployed.
    """
    wish = _wish(bundle, targets, release, release_number, force_unapproved=force_unapproved)
    session = app.session()
    if app.dry is not None:
        fresh = build.package(session) if pull_from is None and release is None else None
        _note(app.dry, session, pull=pull_from, deltas=earlier, push=push_to, folder=folder)
        if wish is not None:
            note_bundle(session, app.dry, fresh, release, wish)
        if fresh is not None:
            app.out.one(plain(fresh), _text(fresh))
        return
    if wish is not None and release is not None:
        _show_bundle(app, bundle_release(session, release, wish))
        return
    if pull_from is not None:
        digest = pull(pull_from, session.layout, insecure=insecure)
        result, text = {"digest": digest}, f"{digest}  pulled from {pull_from}"
    else:
        built = build.package(session)
        digest = built.digest
        result, text = plain(built), _text(built)
    reports = [make_delta_from(session, digest, named) for named in earlier]
    if reports:
        result = {**result, "deltas": plain(reports)}
        text = "\n".join([text, *map(delta_text, reports)])
    if push_to is not None:
        deltas = find_deltas(session.layout, digest)
        pushed = push(session.layout, digest, push_to, insecure=insecure, deltas=deltas)
        app.out.progress(f"pushed to {push_to}, {pushed.uploaded_bytes} bytes sent")
    if folder is not None:
        export_folder(session.layout, digest, folder)
        app.out.progress(f"written to {folder}")
    if wish is not None:
        _show_bundle(app, bundle_package(session, digest, wish))
        return
    app.out.one(result, text)


def _text(built: Package) -> str:
    return f"{built.application} {built.version}  {built.digest}  {built.size_bytes} bytes, signed"


def _note(
    dry: DryRun,
    session: Session,
    *,
    pull: str | None,
    deltas: tuple[str, ...],
    push: str | None,
    folder: Path | None,
) -> None:
    """Note what would be done with a package beside building it."""
    if pull is not None:
        dry.note("write", session.layout, facts={"from": pull})
    for named in deltas:
        dry.note("write", session.layout, facts={"a delta from": named})
    if push is not None:
        dry.note("send", f"the package to {push}")
    if folder is not None:
        dry.note("write", folder)


def _wish(
    bundle: Path | None,
    targets: tuple[str, ...],
    release: int | None,
    number: int | None,
    *,
    force_unapproved: bool,
) -> BundleWish | None:
    if bundle is None:
        if targets or release is not None or number is not None or force_unapproved:
            raise click.UsageError(
                "--target, --release, --release-number and --force-unapproved are for --bundle"
            )
        return None
    if release is not None and number is not None:
        raise click.UsageError("--release is for one that exists, --release-number for a new one")
    return BundleWish(
        file=bundle, targets=targets, number=number, force_unapproved=force_unapproved
    )


def _show_bundle(app: App, made: Bundled) -> None:
    if not made.published:
        app.out.note(
            f"no provider knows release {made.release} yet: run the same command again when there "
            "is a link, before anything else is deployed"
        )
    text = (
        f"{made.application} {made.version}  {made.digest}  release {made.release}  "
        f"{made.bundle_bytes} bytes in {made.bundle}"
    )
    app.out.one(plain(made), text)
