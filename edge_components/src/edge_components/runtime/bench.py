"""``edge-runtime bench``: every variant on every execution provider of this machine, measured.

Each pair runs in a process of its own at the lowest priority, one after the other, so that a
runtime that serves beside it is disturbed as little as can be, and a provider that crashes or
hangs costs its row only. The report is printed, kept for the next choice of a variant, and sent
up as an event.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge_components.contract.bench import BenchReport, BenchRow, table
from edge_components.contract.device import VERSION_RELEASE
from edge_components.contract.hardware import HardwareProfile
from edge_components.runtime.version import candidates, find_profile, read_version

LOWEST = 19
_STDERR_CHARS = 200


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure.

    Attributes:
        path: A version folder, or a model file.
        golden: A golden set for a model file, or None.
        hardware: The profile's name.
        providers: Only these execution providers; empty for all that are here.
        seconds: How long each pair runs.
        timeout_s: How long a pair may take with loading; engines may take minutes to build.
        engines: The folder for what execution providers compile, or None to keep nothing.
    """

    path: Path
    golden: Path | None = None
    hardware: str
    providers: tuple[str, ...] = ()
    seconds: float = 2.0
    timeout_s: float = 600.0
    engines: Path | None = None


class _Subject(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    version: str = ""
    package: str = ""
    release: int = 0
    precisions: tuple[str, ...] = ("",)


def bench(settings: BenchSettings) -> BenchReport:
    """Measure every pair and return the report.

    Raises:
        ActivationError: The version folder or the hardware cannot be used.
    """
    profile = find_profile(settings.hardware)
    subject = _subject(settings.path, profile)
    engine, offered = _ask_engine()
    wanted = settings.providers or profile.execution_providers
    there = [name for name in wanted if name in offered]
    rows = [
        _measure(settings, precision, provider)
        for precision in subject.precisions
        for provider in there
    ]
    missing = [
        BenchRow(precision=precision, provider=name, detail="is not in this ONNX Runtime")
        for precision in subject.precisions
        for name in wanted
        if name not in there
    ]
    return BenchReport(
        model=subject.model,
        version=subject.version,
        package=subject.package,
        release=subject.release,
        hardware=profile.name,
        engine=engine,
        at_unix_s=round(time.time(), 3),
        rows=(*rows, *missing),
    )


def be_humble(nice: int) -> None:
    """Lower this process's priority and that of its children; 19 runs only where nobody else does.

    Args:
        nice: 0 to 19, as of ``nice(1)``.
    """
    os.nice(nice)
    if nice == LOWEST and hasattr(os, "SCHED_IDLE"):
        try:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        except OSError:
            return  # some containers forbid it; the nice value holds


def watch_parent(parent: int) -> None:
    """End this process when the one that started it has died, also before this call."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(3)

    threading.Thread(target=watch, daemon=True, name="bench-watch").start()


def as_table(report: BenchReport) -> str:
    """Return the report as aligned text under a line that says of what."""
    title = f"{report.model} {report.version}".rstrip()
    return "\n".join([f"{title} on {report.hardware}, {report.engine}", *table(report)])


def _subject(path: Path, profile: HardwareProfile) -> _Subject:
    if not (path / VERSION_RELEASE).exists():
        return _Subject(model=path.name)
    version = read_version(path)
    here = [v for v in candidates(version, profile, None) if (version.package / v.path).exists()]
    return _Subject(
        model=version.info.application,
        version=version.info.version,
        package=version.release.package,
        release=version.release.number,
        precisions=tuple(variant.precision for variant in here),
    )


def _ask_engine() -> tuple[str, frozenset[str]]:
    """Return the inference library's name and providers, from a process that ends at once."""
    code = "import onnxruntime as o; print(o.__version__, *o.get_available_providers())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    version, *providers = done.stdout.split() or ["unknown"]
    return f"onnxruntime {version}", frozenset(providers)


def _measure(settings: BenchSettings, precision: str, provider: str) -> BenchRow:
    command = [
        *(sys.executable, "-m", "edge_components.runtime.main", "bench", str(settings.path)),
        *("--hardware", settings.hardware, "--provider", provider),
        *("--in-process", str(os.getpid())),
        *("--precision", precision, "--seconds", str(settings.seconds)),
    ]
    if settings.golden is not None:
        command += ["--golden", str(settings.golden)]
    if settings.engines is not None:
        command += ["--engine-cache", str(settings.engines)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    detail = ""
    out, err = b"", b""
    try:
        out, err = process.communicate(timeout=settings.timeout_s)
    except subprocess.TimeoutExpired:
        detail = f"gave no result in {settings.timeout_s:g} s"
    finally:
        process.kill()
        process.communicate()
    if not detail:
        try:
            return msgspec.json.decode(out, type=BenchRow)
        except msgspec.DecodeError:
            detail = _how_it_ended(process.returncode, err)
    return BenchRow(precision=precision, provider=provider, detail=detail)


def _how_it_ended(code: int, err: bytes) -> str:
    last: Sequence[str] = err.decode("utf-8", "replace").strip().splitlines()[-1:]
    why = last[0][:_STDERR_CHARS] if last else "no message"
    return f"ended by signal {-code}" if code < 0 else f"ended with code {code}: {why}"
