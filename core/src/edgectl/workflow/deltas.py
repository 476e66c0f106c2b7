"""Which earlier package a delta is made from: named by release number, version, digest or place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgectl.errors import EdgectlError, PackageError, ProjectError
from edgectl.package.store import Layout
from edgectl.records import ReleaseRecord
from edgectl.session import Session
from edgectl.workflow.plan import release_history

if TYPE_CHECKING:
    from edgectl.package.delta_build import DeltaReport


def make_delta_from(session: Session, digest: str, named: str) -> DeltaReport:
    """Make the deltas that bring devices from an earlier package to one of the local store.

    Args:
        session: The project at work.
        digest: The package that devices shall get.
        named: The earlier package: a release's number, a version, the package's digest, or
            ``host[:port]/repository`` with a tag or digest, from where it is fetched.

    Raises:
        ProjectError: Nothing is called so.
        PackageError: The earlier package is not in the local store.
        EdgectlError: No provider could be asked, or the registry refused.
    """
    from edgectl.package.delta_build import make_deltas  # noqa: PLC0415 - numpy is heavy

    return make_deltas(session.layout, digest, _resolve(session, named))


def delta_text(report: DeltaReport) -> str:
    """Return what making deltas gave, a line a file, for people."""
    lines = [f"from {report.version}  {report.package}"]
    for file in report.files:
        share = 100 * file.delta / file.size
        if file.kept:
            lines.append(
                f"  {file.path}: {file.delta} bytes in place of {file.size} ({share:.1f} %)"
            )
        else:
            lines.append(f"  {file.path}: whole, as a delta has {share:.0f} % of its bytes")
    if not report.files:
        lines.append("  no file that is worth a delta has changed")
    return "\n".join(lines)


def _resolve(session: Session, named: str) -> str:
    if "/" in named:
        from edgectl.package.registry import pull  # noqa: PLC0415 - 0.3 s that only pulling is worth

        return pull(named, session.layout)
    digest = named if named.startswith("sha256:") else _released(session, named)
    if not Layout.open(session.layout).blob_path(digest).is_file():
        raise PackageError(
            f"package {digest} ('{named}') is not in the local store",
            hint="`--delta-from HOST/REPOSITORY@DIGEST` fetches it from a registry",
        )
    return digest


def _released(session: Session, named: str) -> str:
    """Return the package of a release, as providers know it, or of a version."""
    tagged = Layout.open(session.layout).index().find(f"{session.project.spec.name}:{named}")
    if tagged is not None and not named.isdecimal():
        return tagged.digest
    known, error = _history(session)
    for record in known:
        if str(record.number) == named:
            return record.package
    if tagged is not None:
        return tagged.digest
    for record in known:
        if record.version == named:
            return record.package
    if error is not None:
        raise error
    raise ProjectError(
        f"there is no release, version or package '{named}' of '{session.project.spec.name}'",
        hint="`edgectl status` shows what devices run",
    )


def _history(session: Session) -> tuple[list[ReleaseRecord], EdgectlError | None]:
    """Return the releases that the project's providers know, and why one could not be asked."""
    known: list[ReleaseRecord] = []
    error: EdgectlError | None = None
    targets = [session.project.target(name) for name in session.project.spec.targets]
    for target in {one.provider: one for one in targets}.values():
        try:
            provider = session.provider(target.provider)
            known += release_history(provider, target, session.project.spec.name)
        except EdgectlError as exc:
            error = exc
    return known, error
