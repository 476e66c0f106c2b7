"""A dry run: commands do all that they can do by looking, and what would change is noted down.

A provider of a dry run answers what only reads. A call that would change something is never made:
it is noted with what it would be given, and answered as an obliging provider would. Hooks that are
not known to only read count as changing, so one that is added later is not called by mistake.
What a command leaves for the next one goes into a scratch folder that is thrown away.
"""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pluggy

from edgectl import requests as rq
from edgectl.errors import ProviderError
from edgectl.provider import Provider
from edgectl.records import Device, Record, TrainedModel
from edgectl.wrappers import Facts, journal_facts

R = TypeVar("R")
READING = frozenset(
    {"approval", "capabilities", "check", "history", "inventory", "observe", "preview", "telemetry"}
)
"""Hooks that change nothing; ``coordinate`` too, when it is asked to only read."""


class Step(Record, frozen=True, kw_only=True):
    """One thing that would be done.

    Attributes:
        do: ``call`` a provider, ``write`` or ``remove`` a file, ``run`` a program, ``send``
            something to somebody else, or add a line to the ``journal``.
        what: The hook, the path, the command line, the receiver, or the journal's action.
        provider: Whose hook, or what the journal's line is about; "" for none.
        facts: With what.
    """

    do: str
    what: str
    provider: str = ""
    facts: dict[str, str] = {}

    def __str__(self) -> str:
        """Say it to people."""
        told = ", ".join(f"{key} {_short(value)}" for key, value in self.facts.items() if value)
        at = f" at provider '{self.provider}'" if self.provider and self.do == "call" else ""
        what = f"'{self.what}'" if self.do in {"call", "journal"} else self.what
        return f"would {_VERBS.get(self.do, self.do)} {what}{at}" + (f" ({told})" if told else "")


def _short(value: str) -> str:
    return value[:19] if value.startswith("sha256:") else value


_VERBS = {"journal": "add to the journal"}


class DryRun:
    """What a dry run notes down, and its scratch folder; use it as a context."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.scratch = Path(tempfile.mkdtemp(prefix="edgectl-dry-run-"))
        self._watched: list[tuple[Path, Path]] = []

    def note(self, do: str, what: object, provider: str = "", facts: Facts | None = None) -> None:
        """Note one thing that would be done."""
        told = {key: str(value) for key, value in (facts or {}).items()}
        self.steps.append(Step(do=do, what=str(what), provider=provider, facts=told))

    def stand_in(self, folder: Path) -> Path:
        """Return a scratch folder with copies of a real one's files; what changes in it is noted.

        Its folders are left out: they hold models, and whoever reads them has their full paths.
        """
        scratch = self.scratch / folder.name
        if not scratch.exists():
            scratch.mkdir()
            for path in folder.glob("*"):
                if path.is_file():
                    shutil.copy2(path, scratch)
            self._watched.append((folder, scratch))
        return scratch

    def close(self) -> None:
        """Note what changed in the scratch folders, and throw them away."""
        for real, scratch in self._watched:
            for do, path in _differences(real, scratch):
                self.note(do, path)
        self._watched.clear()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def provider(self, name: str, manager: pluggy.PluginManager) -> Provider:
        """Make the facade of a provider that is only looked at."""
        return DryProvider(name, manager, self)


class DryProvider(Provider):
    """A provider that is asked, and never told to do anything."""

    def __init__(self, name: str, manager: pluggy.PluginManager, dry: DryRun) -> None:
        super().__init__(name, manager)
        self._dry = dry

    def _call(self, hook: str, request: Any, result_type: type[R]) -> R:
        if hook in READING or (hook == "coordinate" and request.read_only):
            return super()._call(hook, request, result_type)
        self._require(hook)
        if hook == "coordinate":
            answer: Any = self._swapped(request)
        else:
            kept = journal_facts(request)
            self._dry.note("call", hook, self.name, _given(request) if kept is None else kept[1])
            if kept is not None:
                self._dry.note("journal", kept[0], self.name, kept[1])
            answer = _ANSWERS[hook](self, request) if hook in _ANSWERS else None
        if not isinstance(answer, result_type):
            raise ProviderError(f"a dry run cannot tell what '{hook}' would return")
        return answer

    def _swapped(self, request: rq.CoordinateRequest) -> rq.CoordinateResult:
        there = super()._call(
            "coordinate",
            rq.CoordinateRequest(
                target=request.target,
                application=request.application,
                key=request.key,
                read_only=True,
            ),
            rq.CoordinateResult,
        )
        if there.value != request.expect:
            return there
        facts: Facts = {"target": request.target.name, request.key: request.value or "nothing"}
        self._dry.note("call", "coordinate", self.name, facts)
        return rq.CoordinateResult(value=request.value, swapped=True)


def _trained(provider: Provider, request: rq.TrainRequest) -> TrainedModel:
    del provider
    return TrainedModel(model=request.model, command=request.command)


def _registered(provider: Provider, request: rq.RegisterRequest) -> object:
    wanted = request.version
    known = None
    if request.approval is None and provider.supports("approval"):
        asked = rq.ApprovalRequest(name=wanted.name, version=wanted.version)
        known = provider.approval(asked).approval
    approval = request.approval or known or request.initial
    return msgspec.structs.replace(wanted, approval=approval)


def _packaged(provider: Provider, request: rq.PackageRequest) -> rq.PackageResult:
    del request
    return rq.PackageResult(location=f"provider '{provider.name}' (not brought there)")


def _withdrawn(provider: Provider, request: rq.WithdrawRequest) -> rq.WithdrawResult:
    asked = rq.ObserveRequest(
        target=request.target,
        application=request.application,
        release=request.release,
        devices=request.devices,
    )
    open_ = [one.device for one in provider.observe(asked) if not one.state.is_settled]
    return rq.WithdrawResult(devices=tuple(open_))


def _enrolled(provider: Provider, request: rq.EnrollRequest) -> rq.EnrollResult:
    del provider
    return rq.EnrollResult(device=Device(id=request.name, hardware=request.hardware))


def _retired(provider: Provider, request: rq.RetireRequest) -> rq.RetireResult:
    devices = provider.inventory(rq.InventoryRequest(target=request.target))
    return rq.RetireResult(removed=any(device.id == request.device for device in devices))


_ANSWERS: dict[str, Callable[[Provider, Any], object]] = {
    "train": _trained,
    "register": _registered,
    "package": _packaged,
    "deploy": lambda provider, request: rq.DeployResult(assigned=request.devices),
    "withdraw": _withdrawn,
    "enroll": _enrolled,
    "retire": _retired,
}


def _given(request: Any) -> Facts:
    """Say what a hook that the journal does not know would be given."""
    if isinstance(request, rq.TrainRequest):
        return {"command": " ".join(request.command), "model": request.model.name}
    return {}


def _differences(real: Path, scratch: Path) -> Iterator[tuple[str, Path]]:
    before = {path.name for path in real.glob("*") if path.is_file()}
    for path in sorted(scratch.glob("*")):
        if path.is_dir():
            yield "write", real / f"{path.name.rpartition('-')[0] or path.name}-…"
        elif path.name not in before or not filecmp.cmp(path, real / path.name, shallow=False):
            yield "write", real / path.name
    for name in sorted(before - {path.name for path in scratch.glob("*")}):
        yield "remove", real / name
