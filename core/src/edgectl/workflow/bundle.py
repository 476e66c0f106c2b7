"""Making a bundle: which release it carries, and that the provider knows it afterwards.

A release's number is the promise that devices keep to: they take nothing that is not higher than
what they had. So a bundle takes its number from where every deploy takes it, the provider's
history, and its release is published there without being given to any device. History, status,
rollback and later numbers then agree whatever a person carries to which device. Without a link
nobody can know the next number: it has to be given, and the release is published when the same
command runs again with a link.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edge_components.contract.release import ReleaseDocument
from edgectl.dryrun import DryRun
from edgectl.errors import (
    ConflictError,
    LeaseError,
    NotFoundError,
    PackageError,
    ProjectError,
    UnreachableError,
)
from edgectl.package.bundle import write_bundle
from edgectl.package.read import open_package
from edgectl.provider import Provider
from edgectl.records import Package, Record, ReleaseRecord, Target
from edgectl.session import Session
from edgectl.workflow.approval import check_approval
from edgectl.workflow.deploy import Deployer, known_package
from edgectl.workflow.numbers import document_of, number_of
from edgectl.workflow.plan import check_limits, release_history
from edgectl.workflow.publish import bring_release
from edgectl.workflow.shared import Shared


class BundleWish(Record, frozen=True, kw_only=True):
    """What a bundle is asked for.

    Attributes:
        file: Where it goes.
        targets: Whose provider numbers the release; none for all of the project's.
        number: The number of a new release, given by hand, or None.
        force_unapproved: Whether a version may go out that nobody approved.
    """

    file: Path
    targets: tuple[str, ...] = ()
    number: int | None = None
    force_unapproved: bool = False


class Bundled(Record, frozen=True, kw_only=True):
    """A bundle that was written.

    Attributes:
        published: Where the provider has the release now; "" if it does not know it.
    """

    application: str
    version: str
    digest: str
    release: int
    bundle: str
    bundle_bytes: int
    published: str = ""


def bundle_package(session: Session, digest: str, wish: BundleWish) -> Bundled:
    """Bundle a package of the local store as a new release, or as the last one if it is the same.

    Raises:
        PlanError: Nobody approved the version.
        UnreachableError: The provider does not answer, and no number was given.
        ConflictError: The number that was given cannot be used.
        LeaseError: Somebody rolls a release out to the target now.
    """
    package = stored_package(session, digest)
    choice = _choose(session, package, wish)
    return _write(session, choice, package, wish.file)


def bundle_release(session: Session, number: int, wish: BundleWish) -> Bundled:
    """Bundle a release that the provider has.

    Raises:
        NotFoundError: It has no such release.
        ConflictError: The project's settings for devices are not those of the release any more.
        PackageError: The package is not in the local store.
    """
    target, record = _known(session, number, wish)
    package = stored_package(session, record.package)
    named = replace(package, version=record.version)
    if _document(session, target, named, number).content_digest() != record.content:
        raise ConflictError(
            f"release {number} was made with other settings for devices than the project has now",
            hint="`device:`, `telemetry:` and the target's `network:` have to be as they were "
            "then; or leave --release out and take a new number",
        )
    return _write(session, _Choice(target, number, publish=True), named, wish.file)


def note_bundle(
    session: Session, dry: DryRun, package: Package | None, number: int | None, wish: BundleWish
) -> None:
    """Note what making a bundle would do.

    Args:
        session: Of the dry run.
        dry: Takes the notes.
        package: What was built for the dry run; None for one that is not at hand.
        number: The number of a release that the provider has, or None.
        wish: What the bundle is asked for.

    Raises:
        EdgectlError: As making it would.
    """
    if number is not None:
        target, record = _known(session, number, wish)
        _note(dry, _Choice(target, number, publish=True), record.package)
    elif package is not None:
        _note(dry, _choose(session, package, wish), package.digest)
    dry.note("write", wish.file)


def _note(dry: DryRun, choice: _Choice, digest: str) -> None:
    facts: dict[str, str | int] = {"release": choice.number, "to": digest}
    if choice.publish:
        dry.note("call", "package", choice.target.provider, facts)
    dry.note("journal", "bundle", choice.target.provider, facts)


class _Choice(NamedTuple):
    """The release that a bundle carries, and whether its provider can be told of it."""

    target: Target
    number: int
    publish: bool


def _choose(session: Session, package: Package, wish: BundleWish) -> _Choice:
    """Choose a new release's number, or find the last one again if nothing has changed."""
    target = _target(session, wish.targets)
    _check_approval(session, package, force=wish.force_unapproved)
    document = _document(session, target, package, 0)
    try:
        return _Choice(target, _number(session, target, document, wish.number), publish=True)
    except UnreachableError as exc:
        if wish.number is None:
            hint = (
                "the provider numbers releases; without a link give one that is higher than all "
                "before: --release-number N"
            )
            raise UnreachableError(exc.message, hint=hint, vendor_code=exc.vendor_code) from exc
        session.progress(f"{exc.message}; taking number {wish.number} as it was given")
        return _Choice(target, wish.number, publish=False)


def _known(session: Session, number: int, wish: BundleWish) -> tuple[Target, ReleaseRecord]:
    """Return a release that the provider has, and the target whose provider that is."""
    target = _target(session, wish.targets)
    history = _history(session, target)
    record = next((one for one in history if one.number == number), None)
    if record is None:
        known = ", ".join(str(one.number) for one in history[:10]) or "none"
        raise NotFoundError(
            f"provider '{target.provider}' knows no release {number}",
            hint=f"releases at the provider: {known}",
        )
    return target, record


def stored_package(session: Session, digest: str) -> Package:
    """Return a package of the local store, files and all.

    Raises:
        PackageError: It is not there, or not whole.
    """
    info = open_package(session.layout, digest, publishers=None).info
    if info.application != session.project.spec.name:
        raise PackageError(
            f"the package '{digest}' is of '{info.application}', the project is "
            f"'{session.project.spec.name}'"
        )
    return known_package(session, info.application, info.version, digest)


def _target(session: Session, names: tuple[str, ...]) -> Target:
    """Return a target of the one provider whose numbers count."""
    found = session.project.targets(names)
    providers = sorted({target.provider for target in found})
    if len(providers) > 1:
        raise ProjectError(
            f"the targets are on several providers: {', '.join(providers)}",
            hint="--target says which target's provider numbers the bundle's release",
        )
    if len({session.project.settings_of(target.name) for target in found}) > 1:
        raise ProjectError(
            "the targets have other limits of their network each, so they have releases of their "
            "own",
            hint="--target says which target's devices the bundle is for",
        )
    return found[0]


def _check_approval(session: Session, package: Package, *, force: bool) -> None:
    try:
        check_approval(session, package, force=force)
    except UnreachableError as exc:
        if not force:
            hint = "--force-unapproved takes it without an answer; the journal says so"
            raise UnreachableError(exc.message, hint=hint, vendor_code=exc.vendor_code) from exc
        facts: dict[str, str | int] = {"to": package.digest, "approval": "not known"}
        session.record("", "force-unapproved", "ok", facts)


def _document(session: Session, target: Target, package: Package, number: int) -> ReleaseDocument:
    return document_of(
        session.project,
        target.name,
        package=package.digest,
        version=package.version,
        number=number,
    )


def _history(session: Session, target: Target) -> list[ReleaseRecord]:
    return release_history(session.provider(target.provider), target, session.project.spec.name)


def _number(session: Session, target: Target, document: ReleaseDocument, given: int | None) -> int:
    """Choose the release's number from what the provider remembers."""
    history = _history(session, target)
    number, is_new, _ = number_of(
        session.project,
        target.name,
        history,
        package=document.package,
        version=document.version,
    )
    if given is not None and given != number:
        known = next((one for one in history if one.number == given), None)
        if known is not None and known.content != document.content_digest():
            raise ConflictError(
                f"release {given} exists with other content: package {known.package}",
                hint=f"the next free number is {history[0].number + 1}",
            )
        if known is None and history and given < history[0].number:
            raise ConflictError(
                f"release {given} is lower than {history[0].number}, which provider "
                f"'{target.provider}' has: devices would refuse it",
                hint=f"the next free number is {history[0].number + 1}",
            )
        number, is_new = given, known is None
    if is_new:
        _check_free(session.provider(target.provider), target, document.application)
    return number


def _check_free(provider: Provider, target: Target, application: str) -> None:
    """Refuse a new release while another one is on its way to the target's devices."""
    if driver := Shared(provider, target, application).driver():
        raise LeaseError(
            f"{driver} deploys to target '{target.name}' now",
            hint="wait for it, or bundle the release that it rolls out: --release NUMBER",
        )


def _write(session: Session, choice: _Choice, package: Package, file: Path) -> Bundled:
    target, number = choice.target, choice.number
    deployer = Deployer(session, session.progress)
    release = deployer.make_release(number, package.digest, package.version, target.name)
    published = ""
    if choice.publish:
        provider = session.provider(target.provider)
        check_limits(target, package, provider.capabilities())
        published = bring_release(provider, target, package, release).location
        session.progress(f"release {number} is at {published}; no device was given it")
    size = write_bundle(session.layout, release, file)
    facts: dict[str, str | int] = {
        "release": number,
        "to": package.digest,
        "file": str(file),
        "published": published or "no",
    }
    session.record(target.provider, "bundle", "ok", facts)
    return Bundled(
        application=package.application,
        version=package.version,
        digest=package.digest,
        release=number,
        bundle=str(file),
        bundle_bytes=size,
        published=published,
    )
