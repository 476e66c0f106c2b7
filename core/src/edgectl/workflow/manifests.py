"""The documents that providers would make, written to files for teams that keep them in Git.

They name the package and the release by digest, so both are brought to where devices fetch them
first; no device is given anything. The next deploy finds the release there and goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgectl.errors import ProjectError, UnsupportedError
from edgectl.records import Package, Target
from edgectl.requests import PreviewRequest
from edgectl.session import Session
from edgectl.workflow.deploy import Deployer
from edgectl.workflow.plan import Plan
from edgectl.workflow.publish import bring_release

Files = dict[str, dict[str, str]]
"""Target to path to text."""
WRITTEN = ".yaml"


def write_manifests(
    session: Session,
    package: Package,
    plan: Plan,
    folder: Path,
    say: Callable[[str], None],
) -> list[str]:
    """Write what the providers of a plan would make as ``FOLDER/TARGET/…``; return the paths.

    What an earlier plan left in a target's folder is removed, so that the folder is the plan.

    Raises:
        UnsupportedError: No provider of these targets makes documents.
        ProjectError: The folder holds something else, or cannot be written.
    """
    targets = [session.project.target(one.target) for one in plan.targets]
    files = _files(session, package, plan, targets)
    wanted = [target for target in targets if files[target.name]]
    if not wanted:
        raise UnsupportedError(
            "no provider of these targets makes documents that could be written",
            hint="provider 'gke' does: its manifests are plain YAML",
        )
    if plan.is_new:
        _publish(session, package, plan, wanted, say)
        files = _files(session, package, plan, wanted)
    written: list[str] = []
    for target in wanted:
        written += write_files(folder / target.name, files[target.name])
    return written


def write_files(folder: Path, files: dict[str, str]) -> list[str]:
    """Make a folder hold exactly these files; return their paths.

    Raises:
        ProjectError: It holds something that no plan wrote, or cannot be written.
    """
    try:
        _clear(folder, set(files))
        for name, text in sorted(files.items()):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ProjectError(f"'{folder}' cannot be written: {exc.strerror}") from exc
    return [str(folder / name) for name in sorted(files)]


def _files(session: Session, package: Package, plan: Plan, targets: list[Target]) -> Files:
    found: Files = {}
    for target in targets:
        provider = session.provider(target.provider)
        number = plan.release_of(target.name)
        request = PreviewRequest(target=target, package=package, release=number)
        found[target.name] = provider.preview(request).files if provider.supports("preview") else {}
    return found


def _publish(
    session: Session,
    package: Package,
    plan: Plan,
    targets: list[Target],
    say: Callable[[str], None],
) -> None:
    deployer = Deployer(session, say)
    for target in {(t.provider, plan.release_of(t.name)): t for t in targets}.values():
        number = plan.release_of(target.name)
        release = deployer.make_release(number, package.digest, package.version, target.name)
        made = bring_release(session.provider(target.provider), target, package, release)
        say(f"release {release.number} is at {made.location}")


def _clear(folder: Path, keep: set[str]) -> None:
    found = [path for path in sorted(folder.rglob("*")) if not path.is_dir()]
    foreign = next((path for path in found if path.suffix != WRITTEN), None)
    if foreign is not None:
        raise ProjectError(
            f"'{foreign}' was not written by `edgectl plan`",
            hint="give --write a folder of its own",
        )
    for path in found:
        if path.relative_to(folder).as_posix() not in keep:
            path.unlink()
