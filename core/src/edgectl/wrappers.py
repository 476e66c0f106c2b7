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


Write = Callable[[str, str, dict[str, str | int]], None]


class JournalWrapper:
    """Outermost: writes one line for every call that changes something at the provider.

    Args:
        write: Takes the action, ``ok`` or the error's code, and the facts.
    """

    def __init__(self, write: Write) -> None:
        self._write = write

    def _record(self, action: str, facts: dict[str, str | int]) -> Wrapped[Any]:
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

    @hookimpl(wrapper=True, tryfirst=True)
    def register(self, request: RegisterRequest) -> Wrapped[Any]:
        """Record a registration or an approval."""
        version = request.version
        facts: dict[str, str | int] = {"version": version.version, "to": version.digest}
        if request.approval is not None:
            facts["approval"] = request.approval
        return (yield from self._record("register", facts))

    @hookimpl(wrapper=True, tryfirst=True)
    def package(self, request: PackageRequest) -> Wrapped[Any]:
        """Record a package that was brought to the provider."""
        facts = _release_facts(request)
        return (yield from self._record("package", facts))

    @hookimpl(wrapper=True, tryfirst=True)
    def deploy(self, request: DeployRequest) -> Wrapped[Any]:
        """Record the devices that were given a release."""
        facts = {**_release_facts(request), "devices": len(request.devices)}
        return (yield from self._record("assign", facts))

    @hookimpl(wrapper=True, tryfirst=True)
    def withdraw(self, request: WithdrawRequest) -> Wrapped[Any]:
        """Record what was taken back."""
        facts: dict[str, str | int] = {"target": request.target.name}
        if request.release is not None:
            facts["release"] = request.release
        return (yield from self._record("withdraw", facts))

    @hookimpl(wrapper=True, tryfirst=True)
    def enroll(self, request: EnrollRequest) -> Wrapped[Any]:
        """Record a device that was added."""
        facts: dict[str, str | int] = {"target": request.target.name, "device": request.name}
        return (yield from self._record("enroll", facts))

    @hookimpl(wrapper=True, tryfirst=True)
    def retire(self, request: RetireRequest) -> Wrapped[Any]:
        """Record a device that was removed."""
        facts: dict[str, str | int] = {"target": request.target.name, "device": request.device}
        return (yield from self._record("retire", facts))


def _release_facts(request: PackageRequest | DeployRequest) -> dict[str, str | int]:
    return {
        "target": request.target.name,
        "release": request.release.number,
        "to": request.release.package,
    }
