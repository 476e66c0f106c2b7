"""The updater's rules, without I/O and without a clock.

``apply`` takes the record and an event and gives the next record; ``next_command`` says what a
record asks for. Whoever runs it stores each record before it carries out the next command, so
that after a power cut ``recover`` finds either the old version active or the new one:

- nothing is accepted that is not newer than everything accepted before;
- a version becomes active only after the golden check, in one replacement of the record;
- what was active then is kept as the version to fall back to until the next one is good;
- a soak that is interrupted is begun once more, and not a third time.
"""

from __future__ import annotations

from msgspec.structs import replace

from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason, State
from edge_components.update.events import (
    Activate,
    Activated,
    Canceled,
    Check,
    Checked,
    Command,
    Event,
    Failed,
    Fetched,
    FetchLayers,
    ObtainPackage,
    ObtainRelease,
    PackageVerified,
    ReleaseVerified,
    Restore,
    Restored,
    Soak,
    Soaked,
    Stage,
    Staged,
)
from edge_components.update.record import (
    Accepted,
    Installed,
    Outcome,
    Phase,
    Record,
    Update,
)

MAX_SOAKS = 2
CANCELED_BY_OPERATOR = "canceled by the operator"


class OutOfTurnError(RuntimeError):
    """An event does not belong to the phase that the update is in."""


def begin(record: Record, action: str, *, install: bool = True) -> Record:
    """Start an update, or let one that is held go on; an action that ended stays ended.

    Args:
        record: The present record.
        action: The provider's name for the order.
        install: Whether the update may go on after the download.
    """
    if record.outcome is not None and record.outcome.action == action:
        return record
    if record.update is not None and record.update.phase is not Phase.HELD:
        return record
    return replace(record, update=Update(action=action, install=install))


def recover(record: Record) -> Record:
    """Return the record as it stands after a restart.

    Before the switch an update is forgotten: whoever ordered it orders it again, and what was
    downloaded is still there. After the switch it soaks again, or falls back.
    """
    update = record.update
    if update is None:
        return record
    if not update.phase.is_switched:
        return replace(record, update=None)
    if update.phase is Phase.FALL_BACK:
        return record
    if update.soaks >= MAX_SOAKS:
        return _fall_back(
            record, update, Failed(reason=Reason.SOAK_FAILED, detail="interrupted in every soak")
        )
    return replace(record, update=replace(update, phase=Phase.ACTIVATE, soaks=update.soaks + 1))


def give_up(record: Record, reason: Reason, detail: str) -> Record:
    """Return the record when a version that has not proved itself is no longer wanted."""
    update = record.update
    if update is None or update.phase not in {Phase.ACTIVATE, Phase.SOAK}:
        return record
    return _fall_back(record, update, Failed(reason=reason, detail=detail))


def go_back(record: Record, action: str, leaving: ReleaseDocument, detail: str) -> Record:
    """Return the record when a good version is left for the one that is kept to fall back to.

    Args:
        record: The present record, without an update.
        action: The provider's name for the order.
        leaving: The active release.
        detail: Why, for the report on that release.
    """
    if record.update is not None or not record.previous:
        raise OutOfTurnError("there is no version to go back to, or an update is in progress")
    update = Update(action=action, release=leaving, soaks=1)
    return _fall_back(record, update, Failed(reason=Reason.CANCELED, detail=detail))


def next_command(record: Record) -> Command | None:
    """Return what is to be done now; None when the update has ended, is held, or is none."""
    update = record.update
    if update is None or update.phase is Phase.HELD:
        return None
    if update.phase is Phase.RELEASE:
        return ObtainRelease()
    if update.phase is Phase.FALL_BACK:
        return Restore(version=record.active)
    release = _release(update)
    if update.phase is Phase.PACKAGE:
        return ObtainPackage(release=release)
    if update.phase in {Phase.ACTIVATE, Phase.SOAK}:
        return _serving_command(record, update, release)
    commands: dict[Phase, type[FetchLayers | Stage | Check]] = {
        Phase.FETCH: FetchLayers,
        Phase.STAGE: Stage,
        Phase.CHECK: Check,
    }
    return commands[update.phase](release=release, precision=update.precisions[0])


def apply(record: Record, event: Event, *, application: str, keep: int = 2) -> Record:
    """Return the record after ``event``.

    Args:
        record: The present record, with an update in progress.
        event: What happened.
        application: The one application that this device runs.
        keep: Good versions that stay, the active one included.

    Raises:
        OutOfTurnError: The event does not fit the phase.
    """
    update = record.update
    if update is None:
        raise OutOfTurnError(f"{type(event).__name__} came while no update is in progress")
    if isinstance(event, Failed):
        return _failed(record, update, event)
    if update.phase.is_switched:
        return _after_switch(record, update, event, keep)
    if isinstance(event, Canceled):
        return _end(record, update, State.SKIPPED, Reason.CANCELED, event.detail)
    return _before_switch(record, update, event, application)


def waits(record: Record, what: str) -> Record:
    """Return the record when a download waits for something, or with "" does so no more."""
    update = record.update
    if update is None or update.phase is not Phase.FETCH or update.waits == what:
        return record
    return replace(record, update=replace(update, waits=what))


def delivered(record: Record, action: str) -> Record:
    """Return the record once the outcome of ``action`` is known to whoever ordered it."""
    if record.outcome is None or record.outcome.action != action:
        return record
    return replace(record, outcome=replace(record.outcome, delivered=True))


def _before_switch(record: Record, update: Update, event: Event, application: str) -> Record:
    match update.phase, event:
        case Phase.RELEASE, ReleaseVerified():
            return _judge(record, update, event.release, application)
        case Phase.PACKAGE, PackageVerified():
            return _packaged(record, update, event)
        case Phase.FETCH, Fetched():
            if not update.install:
                return _at(record, update, Phase.HELD)
            return replace(record, update=replace(update, phase=Phase.STAGE, detail=event.detail))
        case Phase.STAGE, Staged():
            return replace(record, update=replace(update, phase=Phase.CHECK, detail=""))
        case Phase.CHECK, Checked():
            return _switch(record, update, event)
    raise _out_of_turn(update, event)


def _after_switch(record: Record, update: Update, event: Event, keep: int) -> Record:
    match update.phase, event:
        case Phase.ACTIVATE, Activated():
            return _activated(record, update, event)
        case Phase.SOAK, Soaked():
            return _commit(record, update, keep)
        case Phase.FALL_BACK, Restored():
            state = State.FAILED if record.active is None else State.ROLLED_BACK
            return _end(record, update, state, update.reason, update.detail)
    raise _out_of_turn(update, event)


def _out_of_turn(update: Update, event: Event) -> OutOfTurnError:
    return OutOfTurnError(f"{type(event).__name__} does not belong to phase {update.phase.value}")


def undelivered(record: Record) -> Record:
    """Return the record when whoever ordered the last update seems not to know its outcome."""
    if record.outcome is None:
        return record
    return replace(record, outcome=replace(record.outcome, delivered=False))


def withdraw(record: Record) -> Record:
    """Return the record when an update that nobody works on is canceled, for example a held one."""
    update = record.update
    if update is None or update.phase.is_switched:
        return record
    return _end(record, update, State.SKIPPED, Reason.CANCELED, CANCELED_BY_OPERATOR)


def _release(update: Update) -> ReleaseDocument:
    if update.release is None:
        raise OutOfTurnError(f"phase {update.phase.value} without a release")
    return update.release


def _at(record: Record, update: Update, phase: Phase) -> Record:
    return replace(record, update=replace(update, phase=phase, waits=""))


def _serving_command(record: Record, update: Update, release: ReleaseDocument) -> Command:
    if record.active is None:
        raise OutOfTurnError(f"phase {update.phase.value} without an active version")
    if update.phase is Phase.ACTIVATE:
        return Activate(version=record.active)
    return Soak(version=record.active, seconds=release.settings.soak_s)


def _judge(record: Record, update: Update, release: ReleaseDocument, application: str) -> Record:
    named = replace(update, release=release)
    if release.application != application:
        detail = (
            f"the release is for '{release.application[:60]}', this device runs '{application}'"
        )
        return _end(record, named, State.FAILED, Reason.WRONG_APPLICATION, detail)
    seen = record.highest.get(application)
    content = release.content_digest()
    if seen is not None and release.number < seen.number:
        detail = f"release {release.number} is older than {seen.number}, which came before"
        return _end(record, named, State.FAILED, Reason.RELEASE_NOT_NEWER, detail)
    if seen is not None and release.number == seen.number and content != seen.content:
        detail = f"release {release.number} was seen before with other content"
        return _end(record, named, State.FAILED, Reason.RELEASE_NOT_NEWER, detail)
    if record.active is not None and record.active.number == release.number:
        return _end(record, named, State.HEALTHY, Reason.NONE, "already active")
    highest = {**record.highest, application: Accepted(number=release.number, content=content)}
    return replace(record, highest=highest, update=replace(named, phase=Phase.PACKAGE))


def _packaged(record: Record, update: Update, event: PackageVerified) -> Record:
    release = _release(update)
    if event.application != release.application:
        detail = f"the package is of '{event.application[:60]}', not of '{release.application}'"
        return _end(record, update, State.FAILED, Reason.WRONG_APPLICATION, detail)
    if not event.precisions:
        return _end(
            record, update, State.FAILED, Reason.HARDWARE_MISMATCH, "no variant fits this hardware"
        )
    return replace(record, update=replace(update, phase=Phase.FETCH, precisions=event.precisions))


def _switch(record: Record, update: Update, event: Checked) -> Record:
    release = _release(update)
    if event.precision in update.precisions:
        others = tuple(name for name in update.precisions if name != event.precision)
        update = replace(update, precisions=(event.precision, *others))
    version = Installed(
        number=release.number,
        version=release.version,
        package=release.package,
        precision=update.precisions[0],
        provider=event.provider,
    )
    return replace(
        record,
        active=version,
        previous=record.kept(),
        update=replace(update, phase=Phase.ACTIVATE, soaks=1),
    )


def _activated(record: Record, update: Update, event: Activated) -> Record:
    active = record.active
    if active is not None and event.provider:
        active = replace(active, provider=event.provider)
    return replace(record, active=active, update=replace(update, phase=Phase.SOAK))


def _commit(record: Record, update: Update, keep: int) -> Record:
    trimmed = replace(record, previous=record.previous[: max(keep, 2) - 1])
    return _end(trimmed, update, State.HEALTHY, Reason.NONE, "")


def _failed(record: Record, update: Update, event: Failed) -> Record:
    if update.phase in {Phase.ACTIVATE, Phase.SOAK}:
        return _fall_back(record, update, event)
    if update.phase is Phase.FALL_BACK:
        # The version before was good; the supervisor goes on trying to start it.
        detail = f"{update.detail}; then: {event.detail}"
        state = State.FAILED if record.active is None else State.ROLLED_BACK
        return _end(record, update, state, update.reason, detail)
    if update.phase is Phase.CHECK and len(update.precisions) > 1:
        return replace(
            record,
            update=replace(update, phase=Phase.FETCH, precisions=update.precisions[1:]),
        )
    if event.claimed is not None and update.release is None:
        update = replace(update, release=event.claimed)
    return _end(record, update, State.FAILED, event.reason, event.detail)


def _fall_back(record: Record, update: Update, event: Failed) -> Record:
    before = record.previous
    falling = replace(update, phase=Phase.FALL_BACK, reason=event.reason, detail=event.detail)
    return replace(
        record, active=before[0] if before else None, previous=before[1:], update=falling
    )


def _end(record: Record, update: Update, state: State, reason: Reason, detail: str) -> Record:
    release = update.release
    outcome = Outcome(
        action=update.action,
        state=state,
        reason=reason,
        detail=detail,
        release=release.number if release else 0,
        package=release.package if release else "",
        precision=update.precisions[0] if update.precisions else "",
    )
    return replace(record, update=None, outcome=outcome)
