"""A plan that was reviewed: read from its file, and held against the world as it is now.

What is applied is what was read in the pull request. Where anything that decides it has changed
meanwhile (devices, their releases, the package, the release's number), it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from edgectl.codec import decode_json
from edgectl.errors import PlanError
from edgectl.workflow.plan import DeviceChange, Plan, TargetPlan

_SHOWN = 3
_WHOLE = ("application", "version", "package", "release", "is_new")


def read_plan(path: Path) -> Plan:
    """Read a plan that ``edgectl plan -o json`` wrote.

    Raises:
        PlanError: It cannot be read, or is something else.
    """
    try:
        return decode_json(path.read_bytes(), Plan)
    except OSError as exc:
        raise PlanError(f"plan '{path}' cannot be read: {exc.strerror}") from exc
    except msgspec.DecodeError as exc:
        raise PlanError(
            f"'{path}' is no plan: {exc}", hint="`edgectl plan -o json > FILE` writes one"
        ) from exc


def check_unchanged(reviewed: Plan, present: Plan) -> None:
    """Check that a plan that is made now is the one that was reviewed.

    Raises:
        PlanError: It is not; the message says what has changed.
    """
    found = list(islice(_differences(reviewed, present), _SHOWN + 1))
    if found:
        more = "; and more" if len(found) > _SHOWN else ""
        raise PlanError(
            f"the world moved on since the plan was made: {'; '.join(found[:_SHOWN])}{more}",
            hint="`edgectl plan` makes a new one, which has to be reviewed again",
        )


def _differences(reviewed: Plan, present: Plan) -> Iterator[str]:
    for name in _WHOLE:
        before, now = getattr(reviewed, name), getattr(present, name)
        if before != now:
            yield f"{name} was {_shown(before)}, is {_shown(now)}"
    refused = {one.target for one in reviewed.refused}
    for refusal in present.refused:
        if refusal.target not in refused:
            yield f"target '{refusal.target}' cannot be deployed to: {refusal.error}"
    targets = {one.target: one for one in reviewed.targets}
    for one in present.targets:
        if one.target in targets:
            yield from _target_differences(targets[one.target], one)
        else:
            yield f"target '{one.target}' could not be deployed to, and can be now"


def _target_differences(reviewed: TargetPlan, present: TargetPlan) -> Iterator[str]:
    name = present.target
    if reviewed.release and reviewed.release != present.release:
        yield f"{name}: the release was {reviewed.release}, is {present.release}"
    before = {device.device: device for device in reviewed.devices}
    now = {device.device: device for device in present.devices}
    for device in sorted(before.keys() - now.keys()):
        yield f"{name}: device '{device}' is gone"
    for device in sorted(now.keys() - before.keys()):
        yield f"{name}: device '{device}' is new"
    for device in sorted(before.keys() & now.keys()):
        if before[device] != now[device]:
            yield f"{name}: device '{device}' had {_has(before[device])}, has {_has(now[device])}"
    if reviewed.gates != present.gates:
        yield f"{name}: gates were {_listed(reviewed.gates)}, are {_listed(present.gates)}"
    if (reviewed.provider, reviewed.baseline, reviewed.waves) != (
        present.provider,
        present.baseline,
        present.waves,
    ):
        yield f"{name}: provider, waves or the package to go back to differ"


def _has(device: DeviceChange) -> str:
    found = f"release {device.from_release}" if device.from_release else "nothing"
    return f"{found}, {device.hardware or 'no profile'}, wave {device.wave}"


def _listed(gates: tuple[str, ...]) -> str:
    return f"'{', '.join(gates)}'" if gates else "none"


def _shown(value: object) -> str:
    return f"'{str(value)[:19]}'"
