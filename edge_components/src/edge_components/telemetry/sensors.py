"""What the device can tell of itself: processor, memory, heat, power, throttling.

Linux says it in small files below /proc and /sys. Each reading is absent where its file is absent
or unreadable; nothing here raises. Power is what sensors measure: rails of an INA3221 (Jetson),
hwmon power meters, RAPL (x86, often readable by root only), a battery.

Sources: Linux Documentation/hwmon/sysfs-interface, ABI/testing/sysfs-class-thermal, -powercap,
-power and sysfs-devices-system-cpu; NVIDIA's Jetson developer guide on INA3221; the Raspberry Pi
firmware driver's ``get_throttled``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_components.contract.telemetry import Value

_MAX_NAMES = 12
_PI_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
# Bits of get_throttled that are about now; those 16 higher say that it has happened since boot.
_PI_BITS = {0: "undervoltage", 1: "frequency-capped", 2: "throttled", 3: "soft-temperature-limit"}
_BRAKES = ("processor", "cpufreq", "cpu", "gpu", "devfreq")
_UNNAMED = re.compile(r"[^a-z0-9_]+")


class Sensors:
    """Reads the machine; shares and power are of the time since the last reading.

    Args:
        root: Where /proc and /sys are.
        clock: Seconds that only rise.
    """

    def __init__(
        self, root: Path = Path("/"), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._clock = clock
        self._ticks = self._read_ticks()
        self._energy = self._read_energy()

    def read(self) -> dict[str, Value]:
        """Return what can be read now, as attributes of a health record."""
        return {
            **self._cpu(),
            **self._memory(),
            **self._temperatures(),
            **self._power(),
            **self._battery(),
            **self._throttling(),
        }

    # -- processor and memory

    def _cpu(self) -> dict[str, Value]:
        before, now = self._ticks, self._read_ticks()
        self._ticks = now
        found: dict[str, Value] = {}
        if before is not None and now is not None and now[1] > before[1]:
            busy = (now[0] - before[0]) / (now[1] - before[1])
            found["system.cpu_share"] = round(min(1.0, max(0.0, busy)), 4)
        load = _text(self._root / "proc/loadavg").split()
        if load and (one := _float(load[0])) is not None:
            found["load_1m"] = one
        return found

    def _read_ticks(self) -> tuple[int, int] | None:
        first = _text(self._root / "proc/stat").partition("\n")[0].split()
        if len(first) < 6 or first[0] != "cpu" or not all(map(str.isdecimal, first[1:])):
            return None
        ticks = [int(part) for part in first[1:9]]  # guest time is in user time already
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)

    def _memory(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        names = {"MemTotal": "memory_total_bytes", "MemAvailable": "memory_available_bytes"}
        for line in _text(self._root / "proc/meminfo").splitlines():
            name, _, rest = line.partition(":")
            parts = rest.split()
            if name in names and parts and parts[0].isdecimal():
                found[names[name]] = int(parts[0]) * 1024
        return found

    # -- heat

    def _temperatures(self) -> dict[str, Value]:
        found: dict[str, float] = {}
        for zone in self._entries("sys/class/thermal", "thermal_zone*"):
            _keep_highest(found, _text(zone / "type"), _number(zone / "temp"))
        for chip in self._entries("sys/class/hwmon", "hwmon*"):
            for path in sorted(chip.glob("temp*_input")):
                label = _text(path.with_name(path.name.replace("_input", "_label")))
                _keep_highest(found, label or _text(chip / "name"), _number(path))
        if not found:
            return {}
        hottest = sorted(found, key=lambda name: (-found[name], name))[:_MAX_NAMES]
        named: dict[str, Value] = {f"temperature_c.{name}": found[name] for name in sorted(hottest)}
        return {"temperature_c": found[hottest[0]], **named}

    # -- power

    def _power(self) -> dict[str, Value]:
        rails: dict[str, float] = {}
        for chip in self._entries("sys/class/hwmon", "hwmon*"):
            for name, watts in _rails(chip):
                rails.setdefault(name, watts)
        rails |= self._rapl()
        named: dict[str, Value] = {
            f"power_w.{name}": round(rails[name], 3) for name in sorted(rails)[:_MAX_NAMES]
        }
        whole = _whole(rails)
        return named if whole is None else {"power_w": round(whole, 3), **named}

    def _rapl(self) -> dict[str, float]:
        before, now = self._energy, self._read_energy()
        self._energy = now
        passed = now[0] - before[0]
        found = {}
        for zone, (name, energy, wraps_at) in now[1].items():
            if zone in before[1] and passed > 0:
                used = energy - before[1][zone][1]
                found[name] = (used if used >= 0 else used + wraps_at) / 1e6 / passed
        return found

    def _read_energy(self) -> tuple[float, dict[str, tuple[str, float, float]]]:
        zones = {}
        for zone in self._entries("sys/class/powercap", "intel-rapl:?"):
            energy = _number(zone / "energy_uj")
            if energy is not None:
                wraps_at = _number(zone / "max_energy_range_uj") or 0.0
                zones[zone.name] = (_plain(_text(zone / "name")), energy, wraps_at)
        return self._clock(), zones

    def _battery(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for supply in self._entries("sys/class/power_supply", "*"):
            kind = _text(supply / "type")
            online = _number(supply / "online")
            if kind == "Battery":
                level, watts = _number(supply / "capacity"), _supply_watts(supply)
                if level is not None:
                    found.setdefault("battery_level", level / 100)
                if status := _text(supply / "status"):
                    found.setdefault("battery_status", status.lower())
                if watts is not None:
                    found.setdefault("battery_w", watts)
            elif kind and online is not None:
                found["mains_online"] = bool(found.get("mains_online")) or online > 0
        return found

    # -- throttling

    def _throttling(self) -> dict[str, Value]:
        """Whether the machine runs slower than it could, and why; absent where nobody says."""
        known, reasons = False, set()
        text = _text(self._root / _PI_THROTTLED)
        if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", text):
            known = True
            bits = int(text, 16)
            reasons |= {name for bit, name in _PI_BITS.items() if bits >> bit & 1}
        for chip in self._entries("sys/class/hwmon", "hwmon*"):
            alarm = _number(chip / "in0_lcrit_alarm")
            if _text(chip / "name") == "rpi_volt" and alarm is not None:
                known = True
                reasons |= {"undervoltage"} if alarm else set()
        for device in self._entries("sys/class/thermal", "cooling_device*"):
            state = _number(device / "cur_state")
            kind = _text(device / "type").lower()
            if state is not None and kind.startswith(_BRAKES):
                known = True
                reasons |= {"heat"} if state else set()
        if not known:
            return {}
        found: dict[str, Value] = {"throttled": bool(reasons)}
        if reasons:
            found["throttled.why"] = ",".join(sorted(reasons))
        return found

    def _entries(self, folder: str, pattern: str) -> list[Path]:
        try:
            return sorted((self._root / folder).glob(pattern))
        except OSError:
            return []


def _rails(chip: Path) -> Iterator[tuple[str, float]]:
    """Yield the power meters of one hwmon chip: name and watts."""
    chip_name = _text(chip / "name")
    for path in sorted(chip.glob("power*_input")) + sorted(chip.glob("power*_average")):
        label = path.with_name(path.name.partition("_")[0] + "_label")
        if (microwatts := _number(path)) is not None:
            yield _plain(_text(label) or chip_name), microwatts / 1e6
    if chip_name.startswith("ina3221"):
        for path in sorted(chip.glob("curr[1-3]_input")):
            channel = path.name.removeprefix("curr")[0]
            milliamperes, millivolts = _number(path), _number(chip / f"in{channel}_input")
            name = _plain(_text(chip / f"in{channel}_label") or f"rail{channel}")
            if milliamperes is not None and millivolts is not None:
                yield name, milliamperes * millivolts / 1e6


def _whole(rails: dict[str, float]) -> float | None:
    """Return the power of the whole machine: its input rail, or else the processor packages."""
    inputs = [watts for name, watts in rails.items() if name.endswith("_in")]
    packages = [watts for name, watts in rails.items() if name.startswith("package")]
    if inputs:
        return max(inputs)
    if packages:
        return sum(packages)
    return next(iter(rails.values())) if len(rails) == 1 else None


def _supply_watts(supply: Path) -> float | None:
    power = _number(supply / "power_now")
    if power is not None:
        return round(abs(power) / 1e6, 3)
    volts, amperes = _number(supply / "voltage_now"), _number(supply / "current_now")
    if volts is None or amperes is None:
        return None
    return round(abs(volts * amperes) / 1e12, 3)


def _keep_highest(found: dict[str, float], name: str, millidegrees: float | None) -> None:
    # Some zones answer with what no sensor measures (-274 or 0 K) while they are off.
    if millidegrees is None or not -60_000 < millidegrees < 200_000:
        return
    key = _plain(name) or "zone"
    found[key] = max(found.get(key, -1000.0), round(millidegrees / 1000, 1))


def _plain(name: str) -> str:
    return _UNNAMED.sub("_", name.lower()).strip("_")[:40]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(path: Path) -> float | None:
    text = _text(path)
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None
