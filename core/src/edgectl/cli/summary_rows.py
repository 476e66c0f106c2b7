"""A picture as a row: plain numbers for JSON, short texts for a terminal."""

from __future__ import annotations

from typing import Any

import msgspec

from edgectl.cli.summary import Picture

COLUMNS = (
    *("target", "device", "release", "answered", "error_rate", "p50_ms", "p95_ms", "p99_ms"),
    *("drift", "dropped", "classes", "trouble", "last_seen"),
)
_SHOWN_CLASSES = 3
_TIGHT = 0.1
_HOT_C = 85


def row(target: str, picture: Picture, last_seen: str) -> dict[str, Any]:
    """Return a picture as a row of plain numbers, for JSON."""
    plain: dict[str, Any] = msgspec.to_builtins(picture)
    del plain["latency"]
    confidence = picture.confidence.quantile(0.5)
    plain["confidence"] = {
        "samples": picture.confidence.count,
        "p50": None if confidence is None else round(confidence, 4),
        "bounds": picture.confidence.bounds,
        "counts": picture.confidence.counts,
    }
    return {"target": target, **plain, "trouble": trouble(picture), "last_seen": last_seen}


def text_row(target: str, picture: Picture, last_seen: str) -> dict[str, Any]:
    """Return a picture as a row of short texts for a terminal."""
    rate = picture.error_rate
    return {
        "target": target,
        "device": picture.device or f"all {picture.devices}",
        "release": picture.release,
        "answered": picture.answered,
        "error_rate": None if rate is None else f"{rate:.2%}",
        "p50_ms": picture.p50_ms,
        "p95_ms": picture.p95_ms,
        "p99_ms": picture.p99_ms,
        "drift": _drift_text(picture),
        "dropped": sum(picture.dropped.values()),
        "classes": _classes_text(picture.classes),
        "trouble": ", ".join(trouble(picture)),
        "last_seen": last_seen,
    }


def trouble(picture: Picture) -> list[str]:
    """Return what an operator should look at on the machine itself."""
    host = picture.host
    found = []
    if host.get("throttled") is True:
        why = host.get("throttled.why")
        found.append(f"throttled ({why})" if why else "throttled")
    temperature = host.get("temperature_c")
    if isinstance(temperature, (int, float)) and temperature >= _HOT_C:
        found.append(f"{temperature:g} °C")
    for what in ("memory_available", "disk_free"):
        name, _, _ = what.partition("_")
        left, total = host.get(f"{what}_bytes"), host.get(f"{name}_total_bytes")
        if isinstance(left, int) and isinstance(total, int) and 0 <= left < _TIGHT * total:
            found.append(f"{name} {1 - left / total:.0%} full")
    if picture.misdated:
        found.append("clock")
    return found


def _drift_text(picture: Picture) -> str:
    psi = {name: value for name, value in picture.drift.items() if name.endswith(".psi")}
    if not psi:
        return ""
    worst = max(psi, key=lambda name: psi[name])
    mark = " !" if picture.drifted else ""
    return f"{psi[worst]:.3f} {worst.removesuffix('.psi')}{mark}"


def _classes_text(classes: dict[str, int]) -> str:
    total = sum(classes.values())
    shown = [f"{name}:{count / total:.0%}" for name, count in classes.items()][:_SHOWN_CLASSES]
    more = len(classes) - len(shown)
    return " ".join([*shown, f"+{more}"] if more else shown)
