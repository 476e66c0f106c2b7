"""``edgectl demo``: the main job on this machine, with the same commands that a user types."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from edgectl.cli.app import App, command
from edgectl.cli.probe import Score, score_device
from edgectl.errors import ProviderError

DEVICES = {
    "lots-dc/lot-k-street": "x86-64-cpu",
    "lots-dc/lot-union-station": "intel-openvino",
    "lots-md/lot-harbor": "nvidia-gpu",
}
NAME = "parking-plates"
UP_TIMEOUT_S = 60.0
TELEMETRY_TIMEOUT_S = 20.0
COLUMNS = (
    "target",
    "device",
    "hardware",
    "state",
    "release",
    "digest",
    "variant",
    "answers",
    "accuracy",
)
NEXT = """
What to try next, in {folder}:
  edgectl init my-project         a project of your own to change
  edgectl emulate selfhosted      this hub and these devices, until Ctrl-C
  edgectl plan / deploy / status / rollback / telemetry / journal verify
"""


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Work there and leave everything for a look; by default a temporary folder.",
)
@command
def demo(app: App, folder: Path | None) -> None:
    """Run the whole flow on this machine: train, package, three devices, answers, telemetry.

    Starts a hub and three real agents of two sites on loopback, and stops them at the end.
    Needs the self-hosted provider and scikit-learn; no cloud account, no container.
    """
    with _workplace(folder) as place:
        Demo(app, place).run()
    app.out.note(NEXT.format(folder=folder or "a folder of yours"))


class Demo:
    """One run of the demonstration below ``place``."""

    def __init__(self, app: App, place: Path) -> None:
        self._app = app
        self._project = place / "plates"
        self._place = place
        self._env = dict(os.environ)

    def run(self) -> None:
        """Run every step; what a step prints goes to stderr."""
        self._say("writing the example project (edgectl init)")
        self._edgectl("init", str(self._project), "--name", NAME)
        self._say("starting a hub and three devices of two sites (edgectl emulate selfhosted)")
        with self._fleet() as fleet:
            self._say("training, registering, packaging, deploying in waves (edgectl run)")
            self._edgectl("run")
            self._say("sending held-out images to each device (Open Inference Protocol)")
            scores = self._scores(fleet)
            self._show(self._rows("status"), scores)
            self._say("what the devices told (edgectl telemetry)")
            self._show_telemetry(len(scores))
            self._say("checking the audit journal (edgectl journal verify)")
            self._edgectl("journal", "verify")
        if any(score.answers == 0 for score in scores.values()):
            raise ProviderError("a device did not answer")

    @contextlib.contextmanager
    def _fleet(self) -> Iterator[dict[str, Any]]:
        info = self._place / "fleet.json"
        arguments = ["emulate", "selfhosted", "--project", str(self._project)]
        arguments += ["--dir", str(self._place / "fleet"), "--info", str(info), "--stop-on-eof"]
        for place, profile in DEVICES.items():
            arguments += ["--device", f"{place}={profile}"]
        process = subprocess.Popen(
            [*_edgectl(), *arguments],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + UP_TIMEOUT_S
            while not info.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ProviderError(
                        "the devices did not come up", hint=f"see the logs in {self._place}"
                    )
                time.sleep(0.1)
            fleet: dict[str, Any] = msgspec.json.decode(info.read_bytes())
            self._env.update(fleet["env"])
            yield fleet
        finally:
            self._say("stopping hub and devices")
            process.terminate()
            process.communicate()

    def _scores(self, fleet: dict[str, Any]) -> dict[str, Score]:
        images = self._project / "out" / "evaluation.npz"
        return {d["name"]: score_device(d["url"], NAME, images) for d in fleet["devices"]}

    def _show(self, rows: list[dict[str, Any]], scores: dict[str, Score]) -> None:
        for row in rows:
            score = scores[row["device"]]
            row["answers"] = score.answers
            row["accuracy"] = f"{score.accuracy:.4f}"
        self._app.out.rows(rows, COLUMNS)

    def _show_telemetry(self, devices: int) -> None:
        """Show the newest records once every device has told of itself."""
        deadline = time.monotonic() + TELEMETRY_TIMEOUT_S
        while True:
            rows = self._rows("telemetry", "--limit", "1000")
            told = {row["device"] for row in rows if row["kind"] == "prediction"}
            if len(told) >= devices or time.monotonic() > deadline:
                break
            time.sleep(0.5)
        counts: dict[tuple[str, str], int] = {}
        for row in rows:
            counts[row["device"], row["kind"]] = counts.get((row["device"], row["kind"]), 0) + 1
        table = [
            {"device": device, "kind": kind, "records": count}
            for (device, kind), count in sorted(counts.items())
        ]
        self._app.out.rows(table, ("device", "kind", "records"))
        if len(told) < devices:
            raise ProviderError("not every device's telemetry came up")

    def _rows(self, *arguments: str) -> list[dict[str, Any]]:
        done = self._edgectl("-o", "json", "-q", *arguments, capture=True)
        rows: list[dict[str, Any]] = msgspec.json.decode(done)
        return rows

    def _edgectl(self, *arguments: str, capture: bool = False) -> bytes:
        call = [*_edgectl(), "--project", str(self._project), *arguments]
        done = subprocess.run(
            call, env=self._env, stdout=subprocess.PIPE if capture else None, check=False
        )
        if done.returncode != 0:
            raise ProviderError(
                f"`edgectl {arguments[0]}` exited with {done.returncode}",
                hint=f"see the logs in {self._place}",
            )
        return done.stdout or b""

    def _say(self, line: str) -> None:
        self._app.out.progress(click.style(line, bold=True))


def _edgectl() -> list[str]:
    return [sys.executable, "-m", "edgectl.cli.main"]


@contextlib.contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.absolute()
        return
    place = Path(tempfile.mkdtemp(prefix="edgectl-demo-"))
    try:
        yield place
    except ProviderError:
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    else:
        shutil.rmtree(place, ignore_errors=True)
