"""Four emulators as processes, with one project whose targets are on all of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "site_support"))
from matrix_clouds import CLOUDS, Cloud, asked
from matrix_project import APPLICATION, PLACES, PROJECT
from tiny_site import TRAIN, spoil_golden

UP_TIMEOUT_S = 300
COMMAND_TIMEOUT_S = 400
ASK_S = 0.3
FOREIGN = ("EDGECTL_", "AWS_", "AZURE_", "IOTHUB_", "ARM_", "GKE_", "GOOGLE_", "KUBECONFIG")
TRUST = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
ONES = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}
Answers = dict[str, tuple[float, ...]]


class Matrix:
    """The project, its emulators and its devices.

    Attributes:
        clouds: By provider.
        first: The digest of the package that was built while the emulators came up.
        project: What is written as project file, but for its version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith((*FOREIGN, *TRUST))}
        self.clouds: dict[str, Cloud] = {}
        self.first = ""
        self.project = PROJECT
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "train.py").write_text(TRAIN)
        self.write("1", 1.0)

    def write(self, version: str, scale: float) -> None:
        (self.folder / "edgectl.yaml").write_text(self.project.format(version=version))
        (self.folder / "scale.txt").write_text(str(scale))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edgectl.cli.main", *arguments]

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def build(self, version: str, scale: float, *, spoilt: bool = False) -> str:
        """Build a version; returns the package's digest.

        Args:
            version: What it is called.
            scale: What its model multiplies by.
            spoilt: Whether its golden set is one that no device can meet.
        """
        self.write(version, scale)
        self.run("train")
        self.run("register")
        if spoilt:
            spoil_golden(self.folder)
        digest: str = json.loads(self.run("-o", "json", "package"))["digest"]
        return digest

    def deploy(self, code: int = 0, *, asking: bool = True) -> tuple[str, set[tuple[float, ...]]]:
        """Deploy, and ask all devices meanwhile; returns what was said, and all their answers."""
        answers: set[tuple[float, ...]] = set()
        with (self.folder / "deploy.log").open("w+") as said:
            command = self.command("deploy", "--poll", "0.2")
            with subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=said
            ) as process:
                while process.poll() is None:
                    answers |= set(self.answers().values()) if asking else set()
                    time.sleep(ASK_S)
                stdout, _ = process.communicate(timeout=COMMAND_TIMEOUT_S)
            said.seek(0)
            assert process.returncode == code, (process.returncode, stdout, said.read())
        return stdout.decode(), answers

    def status(self) -> dict[str, dict[str, Any]]:
        return {row["device"]: row for row in json.loads(self.run("-o", "json", "status"))}

    def answers(self) -> Answers:
        """Ask each device's model for the product of ones."""
        path = f"/v2/models/{APPLICATION}/infer"
        found = {
            name: asked(cloud.url, "POST", path, {"inputs": [ONES]})
            for name, cloud in self.clouds.items()
        }
        return {name: tuple(one["outputs"][0]["data"]) for name, one in found.items()}

    def answering(self) -> set[str]:
        """Ask each device for the package that its model is of."""
        found = [asked(c.url, "GET", f"/v2/models/{APPLICATION}") for c in self.clouds.values()]
        return {one["parameters"]["package"] for one in found}

    def reported(self) -> set[str]:
        """Return which packages the devices report, as each cloud passes it on."""
        return {cloud.reported() for cloud in self.clouds.values()}

    def runtimes(self) -> dict[str, object]:
        return {name: cloud.runtime() for name, cloud in self.clouds.items()}

    def written(self) -> dict[str, object]:
        return {name: cloud.written() for name, cloud in self.clouds.items()}

    @contextlib.contextmanager
    def emulators(self) -> Iterator[None]:
        """Start all four, and build the first version while they come up."""
        with contextlib.ExitStack() as running:
            running.callback(self._stop)
            for place in PLACES:
                self._start(place.provider, running)
            self.first = self.build("1", 1.0)
            infos = {place.provider: self._wait(place.provider) for place in PLACES}
            settings = [info["env"] for info in infos.values()]
            names = [name for env in settings for name in env]
            assert len(names) == len(set(names)), f"two emulators set one variable: {names}"
            for env in settings:
                self.env.update(env)
            self.clouds = {name: CLOUDS[name](info, self.env) for name, info in infos.items()}
            for cloud in self.clouds.values():
                running.callback(cloud.close)
            yield

    def _start(self, provider: str, running: contextlib.ExitStack) -> None:
        arguments = ["emulate", provider, "--dir", str(self.folder / provider), "--devices", "1"]
        arguments += ["--info", str(self.folder / f"{provider}.json"), "--stop-on-eof"]
        log = running.enter_context((self.folder / f"{provider}.log").open("wb"))
        self._processes[provider] = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )

    def _stop(self) -> None:
        """End all emulators at once."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.communicate()

    def _wait(self, provider: str) -> Any:
        file, deadline = self.folder / f"{provider}.json", time.monotonic() + UP_TIMEOUT_S
        while not file.exists():
            said = (self.folder / f"{provider}.log").read_text()
            assert self._processes[provider].poll() is None, (provider, said)
            assert time.monotonic() < deadline, (provider, said)
            time.sleep(0.05)
        return json.loads(file.read_text())


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """All four emulators with a device each, for all tests of a module."""
    found = Matrix(tmp_path_factory.mktemp("matrix"))
    with found.emulators():
        yield found
