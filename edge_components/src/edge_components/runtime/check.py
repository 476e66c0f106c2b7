"""``edge-runtime check``: will this version run here, and answer as it should?

Each variant is tried in a process of its own with a deadline, so that a model or an execution
provider that crashes or hangs costs that process only, and the next precision has its turn. One
JSON object on stdout, exit code 0 or 1.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec

from edge_components.contract.hardware import HardwareProfile
from edge_components.contract.package import Variant
from edge_components.contract.state import Reason
from edge_components.runtime.choice import Contest
from edge_components.runtime.reports import CheckReport
from edge_components.runtime.version import (
    ActivationError,
    Version,
    candidates,
    find_profile,
    read_version,
)

_STDERR_CHARS = 300


def check_version(
    folder: Path,
    hardware: str,
    precision: str | None,
    *,
    timeout_s: float,
    engines: Path | None = None,
) -> CheckReport:
    """Check all variants; return the fastest that holds, or the last where none does.

    Those that are about as fast as each other stand in the profile's order.
    """
    start = time.monotonic()
    try:
        profile = find_profile(hardware)
        version = read_version(folder)
        variants = _present(version, candidates(version, profile, precision))
    except ActivationError as exc:
        return CheckReport(ok=False, reason=exc.reason, detail=exc.detail)
    report = CheckReport(ok=False, reason=Reason.INTERNAL)
    contest = Contest()
    for variant in variants:
        if contest.is_over:
            break
        found = _try(version, variant, profile, timeout_s, engines)
        seconds = math.inf if found.latency_ms is None else found.latency_ms / 1000
        if (found.ok and contest.wins(seconds)) or not (found.ok or report.ok):
            report = found
    return msgspec.structs.replace(report, seconds=round(time.monotonic() - start, 6))


def _present(version: Version, variants: list[Variant]) -> list[Variant]:
    """Return those whose weights lie here: a device may hold one; all if none does."""
    here = [variant for variant in variants if (version.package / variant.path).exists()]
    return here or variants


def check_here(
    folder: Path,
    hardware: str,
    precision: str,
    *,
    timeout_s: float,
    engines: Path | None = None,
) -> CheckReport:
    """Check one precision in this process, which ends itself when the deadline passes."""
    # Only the process that runs the model pays for importing ONNX Runtime.
    from edge_components.runtime.load import check_variant  # noqa: PLC0415  # see above

    _watch(timeout_s)
    try:
        profile = find_profile(hardware)
        version = read_version(folder)
        variant = candidates(version, profile, precision)[0]
    except ActivationError as exc:
        return CheckReport(ok=False, reason=exc.reason, detail=exc.detail)
    return check_variant(version, variant, profile, engines=engines)


def _try(
    version: Version,
    variant: Variant,
    profile: HardwareProfile,
    timeout_s: float,
    engines: Path | None,
) -> CheckReport:
    command = [
        *(sys.executable, "-m", "edge_components.runtime.main", "check", str(version.folder)),
        *("--hardware", profile.name, "--precision", variant.precision),
        *("--in-process", "--timeout", str(timeout_s)),
    ]
    if engines is not None:
        command += ["--engine-cache", str(engines)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return _failed(variant, Reason.GOLDEN_FAILED, f"gave no answer in {timeout_s:g} s")
    finally:
        process.kill()
        process.communicate()
    try:
        return msgspec.json.decode(out, type=CheckReport)
    except msgspec.DecodeError:
        return _failed(variant, Reason.LOAD_FAILED, _how_it_ended(process.returncode, err))


def _failed(variant: Variant, reason: Reason, detail: str) -> CheckReport:
    return CheckReport(
        ok=False,
        precision=variant.precision,
        reason=reason,
        detail=f"{variant.precision}: the model {detail}",
    )


def _how_it_ended(code: int, err: bytes) -> str:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"ended its process by {name}"
    last = err.decode("utf-8", "replace").strip()[-_STDERR_CHARS:]
    return f"ended its process with code {code}: {last}"


def _watch(timeout_s: float) -> None:
    """End this process when its time is over or its parent has died."""
    parent = os.getppid()
    end = time.monotonic() + timeout_s

    def watch() -> None:
        while time.monotonic() < end and os.getppid() == parent:
            time.sleep(0.2)
        os._exit(3)

    threading.Thread(target=watch, daemon=True, name="check-watch").start()
