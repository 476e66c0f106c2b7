"""Core's own wrappers around a provider's hooks: error translation and the journal."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from edgectl.errors import EdgectlError, UnreachableError
from edgectl.hookspecs import hookimpl
from edgectl.requests import (
    DeployRequest,
    EnrollRequest,
    PackageRequest,
    RegisterRequest,
    RetireRequest,
    WithdrawRequest,
)

R = TypeVar("R")
Wrapped = Generator[None, R, R]


class ErrorTranslation:
    """Innermost: turns operating-system errors of the connection into ``UnreachableError``.

    Everything else that is not an ``EdgectlError`` is a defect of the plugin and goes on as it
    is, with its traceback.
    """

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def _translate(self) -> Wrapped[Any]:
        try:
            return (yield)
        except (ConnectionError, TimeoutError) as exc:
            raise UnreachableError(
                f"provider '{self._provider}' cannot be reached: {exc}",
                hint="`edgectl doctor` checks addresses and credentials",
            ) from exc


def _delegate(name: str) -> Callable[..., Wrapped[Any]]:
    def wrapper(self: ErrorTranslation, request: object) -> Wrapped[Any]:
        del request
        return (yield from self._translate())

    wrapper.__name__ = name
    wrapper.__doc__ = f"Translate what ``{name}`` raises."
    return wrapper


for _hook in (
    "train",
    "register",
    "approval",
    "package",
    "preview",
    "deploy",
    "telemetry",
    "inventory",
    "observe",
    "history",
    "withdraw",
    "coordinate",
    "check",
    "capabilities",
    "enroll",
    "retire",
):
    setattr(ErrorTranslation, _hook, hookimpl(wrapper=True, trylast=True)(_delegate(_hook)))


Facts = dict[str, str | int]
Write = Callable[[str, str, Facts], None]


class JournalWrapper:
    """Outermost: writes one line for every call that changes something at the provider.

    Args:
        write: Takes the action, ``ok`` or the error's code, and the facts.
    """

    def __init__(self, write: Write) -> None:
        self._write = write

    def _record(self, action: str, facts: Facts) -> Wrapped[Any]:
        try:
            result = yield
        except EdgectlError as exc:
            self._write(action, exc.code, facts)
            raise
        except BaseException:
            self._write(action, "interrupted", facts)
            raise
        self._write(action, "ok", facts)
        return result


def journal_facts(request: object) -> tuple[str, Facts] | None:
    """Return the journal's action and facts for a call; None for one that it does not keep."""
    kept = _KEPT.get(type(request))
    return None if kept is None else (kept[0], kept[1](request))


def _register_facts(request: RegisterRequest) -> Facts:
    facts: Facts = {"version": request.version.version, "to": request.version.digest}
    return facts if request.approval is None else {**facts, "approval": request.approval}


def _release_facts(request: PackageRequest | DeployRequest) -> Facts:
    return {
        "target": request.target.name,
        "release": request.release.number,
        "to": request.release.package,
    }


def _assign_facts(request: DeployRequest) -> Facts:
    return {**_release_facts(request), "devices": len(request.devices)}


def _withdraw_facts(request: WithdrawRequest) -> Facts:
    facts: Facts = {"target": request.target.name}
    return facts if request.release is None else {**facts, "release": request.release}


def _enroll_facts(request: EnrollRequest) -> Facts:
    return {"target": request.target.name, "device": request.name}


def _retire_facts(request: RetireRequest) -> Facts:
    return {"target": request.target.name, "device": request.device}


_KEPT: dict[type, tuple[str, Callable[[Any], Facts]]] = {
    RegisterRequest: ("register", _register_facts),
    PackageRequest: ("package", _release_facts),
    DeployRequest: ("assign", _assign_facts),
    WithdrawRequest: ("withdraw", _withdraw_facts),
    EnrollRequest: ("enroll", _enroll_facts),
    RetireRequest: ("retire", _retire_facts),
}


def _journal(hook: str) -> Callable[..., Wrapped[Any]]:
    def wrapper(self: JournalWrapper, request: Any) -> Wrapped[Any]:
        kept = journal_facts(request)
        if kept is None:
            raise TypeError(f"the journal does not know what '{hook}' is given")
        return (yield from self._record(*kept))

    wrapper.__name__ = hook
    wrapper.__doc__ = f"Record a call of ``{hook}``."
    return wrapper


for _hook in ("register", "package", "deploy", "withdraw", "enroll", "retire"):
    setattr(JournalWrapper, _hook, hookimpl(wrapper=True, tryfirst=True)(_journal(_hook)))
