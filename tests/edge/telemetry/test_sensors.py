"""What a device tells of itself, from made trees of /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_components.contract.telemetry import Value
from edge_components.telemetry.sensors import Sensors

THERMAL = "sys/class/thermal/thermal_zone"
HWMON = "sys/class/hwmon/hwmon"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """A made tree, and the sensors that read it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = Clock()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    def sensors(self) -> Sensors:
        return Sensors(self.root, clock=self.clock)

    def read(self, files: dict[str, str]) -> dict[str, Value]:
        self.write(files)
        return self.sensors().read()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_that_says_nothing_gives_nothing(machine: Machine) -> None:
    assert machine.sensors().read() == {}


def test_cpu_share_is_of_the_time_since_the_last_reading(machine: Machine) -> None:
    machine.write({"proc/stat": "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3"})
    sensors = machine.sensors()
    assert "system.cpu_share" not in sensors.read()
    machine.write({"proc/stat": "cpu  125 0 125 840 110 0 0 0 0 0\ncpu0 1 2 3"})
    assert sensors.read()["system.cpu_share"] == 0.25


def test_memory_is_in_bytes_and_load_is_the_first_number(machine: Machine) -> None:
    found = machine.read(
        {
            "proc/meminfo": "MemTotal:  4000 kB\nMemFree: 1 kB\nMemAvailable:   1000 kB",
            "proc/loadavg": "0.75 0.5 0.25 1/100 4242",
        }
    )
    assert found == {
        "memory_total_bytes": 4_096_000,
        "memory_available_bytes": 1_024_000,
        "load_1m": 0.75,
    }


def test_the_hottest_zone_stands_first_and_a_zone_that_is_off_is_left_out(
    machine: Machine,
) -> None:
    found = machine.read(
        {
            f"{THERMAL}0/type": "CPU-therm",
            f"{THERMAL}0/temp": "48500",
            f"{THERMAL}1/type": "GPU-therm",
            f"{THERMAL}1/temp": "61000",
            f"{THERMAL}2/type": "CV0-therm",
            f"{THERMAL}2/temp": "-274000",
            f"{THERMAL}3/type": "broken",
            f"{THERMAL}3/temp": "warm",
            f"{HWMON}0/name": "nvme",
            f"{HWMON}0/temp1_input": "39850",
            f"{HWMON}0/temp1_label": "Composite",
        }
    )
    assert found == {
        "temperature_c": 61.0,
        "temperature_c.cpu_therm": 48.5,
        "temperature_c.gpu_therm": 61.0,
        "temperature_c.composite": 39.9,
    }


def test_a_jetsons_rails_are_current_times_voltage_and_the_input_is_the_whole(
    machine: Machine,
) -> None:
    found = machine.read(
        {
            f"{HWMON}3/name": "ina3221",
            f"{HWMON}3/in1_label": "VDD_IN",
            f"{HWMON}3/in1_input": "5000",
            f"{HWMON}3/curr1_input": "1200",
            f"{HWMON}3/in2_label": "VDD_CPU_GPU_CV",
            f"{HWMON}3/in2_input": "4800",
            f"{HWMON}3/curr2_input": "500",
            f"{HWMON}3/in3_label": "VDD_SOC",
            f"{HWMON}3/in3_input": "4800",
        }
    )
    assert found == {"power_w": 6.0, "power_w.vdd_in": 6.0, "power_w.vdd_cpu_gpu_cv": 2.4}


def test_a_power_meter_is_in_microwatts(machine: Machine) -> None:
    found = machine.read({f"{HWMON}1/name": "ina226", f"{HWMON}1/power1_input": "3250000"})
    assert found == {"power_w": 3.25, "power_w.ina226": 3.25}


def test_rapl_is_energy_by_time_also_when_the_counter_wraps(machine: Machine) -> None:
    zone = "sys/class/powercap/intel-rapl:0"
    machine.write(
        {
            f"{zone}/name": "package-0",
            f"{zone}/energy_uj": "1000000",
            f"{zone}/max_energy_range_uj": "100000000",
        }
    )
    sensors = machine.sensors()
    machine.clock.now = 2.0
    machine.write({f"{zone}/energy_uj": "31000000"})
    assert sensors.read() == {"power_w": 15.0, "power_w.package_0": 15.0}
    machine.clock.now = 4.0
    machine.write({f"{zone}/energy_uj": "1000000"})
    assert sensors.read()["power_w"] == 35.0


def test_a_battery_tells_its_level_state_and_power(machine: Machine) -> None:
    supply = "sys/class/power_supply"
    found = machine.read(
        {
            f"{supply}/BAT0/type": "Battery",
            f"{supply}/BAT0/capacity": "64",
            f"{supply}/BAT0/status": "Discharging",
            f"{supply}/BAT0/voltage_now": "12000000",
            f"{supply}/BAT0/current_now": "-500000",
            f"{supply}/AC/type": "Mains",
            f"{supply}/AC/online": "0",
        }
    )
    assert found == {
        "battery_level": 0.64,
        "battery_status": "discharging",
        "battery_w": 6.0,
        "mains_online": False,
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0", None),
        ("50000", None),  # it happened since boot, and is over
        ("50005", "throttled,undervoltage"),
        ("0x8", "soft-temperature-limit"),
    ],
)
def test_a_raspberry_pi_says_why_it_is_slow(machine: Machine, text: str, why: str | None) -> None:
    found = machine.read({"sys/devices/platform/soc/soc:firmware/get_throttled": text})
    assert found.get("throttled") is (why is not None)
    assert found.get("throttled.why") == why


def test_undervoltage_is_read_from_the_mainline_driver_too(machine: Machine) -> None:
    found = machine.read({f"{HWMON}0/name": "rpi_volt", f"{HWMON}0/in0_lcrit_alarm": "1"})
    assert found == {"throttled": True, "throttled.why": "undervoltage"}


def test_a_processor_that_is_cooled_by_going_slow_is_throttled_and_a_fan_is_not(
    machine: Machine,
) -> None:
    device = "sys/class/thermal/cooling_device"
    fan = {f"{device}0/type": "pwm-fan", f"{device}0/cur_state": "3"}
    assert machine.read(fan) == {}
    cool = {f"{device}1/type": "cpufreq-cpu0", f"{device}1/cur_state": "0"}
    assert machine.read(cool) == {"throttled": False}
    hot = {f"{device}1/cur_state": "2"}
    assert machine.read(hot) == {"throttled": True, "throttled.why": "heat"}


def test_unreadable_files_are_absent(machine: Machine) -> None:
    (machine.root / "proc/stat").mkdir(parents=True)  # a folder cannot be read as a file
    zone = machine.root / "sys/class/powercap/intel-rapl:0"
    (zone / "energy_uj").mkdir(parents=True)
    assert machine.sensors().read() == {}


def test_the_real_machine_can_be_read() -> None:
    found = Sensors().read()
    assert all(isinstance(value, (str, int, float, bool)) for value in found.values())
