"""A project with a tiny model, the emulator of its provider as a process, and devices that answer.

What a provider's tests need otherwise they say in a class of their own: the project file, how the
emulator is started, where a device answers.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np

TRAIN = """\
import os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper

scale = float(pathlib.Path("scale.txt").read_text())
weights = numpy_helper.from_array(np.eye(4, dtype=np.float32) * scale, "w")
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "tiny",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    [weights],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
print("trained with scale", scale)
"""
Done = subprocess.CompletedProcess[str]


class TinySite:
    """A project whose model multiplies by a number, and what is emulated for it.

    Attributes:
        project: The project file; ``{version}`` and ``{site.…}`` are filled in.
        foreign: Beginnings of variables of whoever runs the tests that commands do not get.
        registers: With which provider a version is registered; "" for the usual one.
        trainer: With which it is trained.
        waves: Of the rollout, as in the project file.
        threshold: So too.
        env: The environment of all commands.
        devices: By name, as the emulator tells them.
        control: Where the emulator takes words for tests.
    """

    project: ClassVar[str]
    foreign: ClassVar[tuple[str, ...]] = ()
    registers: ClassVar[str] = "selfhosted"
    command_s: ClassVar[float] = 300
    up_s: ClassVar[float] = 110
    trainer = "selfhosted"
    waves = "[1, 100%]"
    threshold = "{percent: 0}"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        foreign = ("EDGECTL_", *self.foreign)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self.devices: dict[str, dict[str, str]] = {}
        self.control = ""
        (folder / "train.py").write_text(TRAIN)
        self.write()

    def write(self, version: str = "1", scale: float = 1.0) -> None:
        """Write the project of a version."""
        text = self.project.format(version=version, site=self)
        (self.folder / "edgectl.yaml").write_text(text)
        (self.folder / "scale.txt").write_text(str(scale))

    # Commands

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edgectl.cli.main", *arguments]

    def attempt(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """Run a command with more in its environment; "" takes a variable out of it."""
        given = {k: v for k, v in {**self.env, **(env or {})}.items() if v}
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=given,
            capture_output=True,
            text=True,
            timeout=self.command_s,
            check=False,
        )

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command and return at once."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command that ends with a code; return what it prints."""
        done = self.attempt(*arguments)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def build(self, version: str, scale: float) -> str:
        """Build a version; return the package's digest."""
        self.write(version, scale)
        self.run("train")
        self.run("register", *(("--provider", self.registers) if self.registers else ()))
        digest: str = json.loads(self.run("-o", "json", "package"))["digest"]
        return digest

    def spoil_golden(self) -> None:
        """Make the registered golden set wrong, see the function of that name."""
        spoil_golden(self.folder)

    # Devices

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return what ``edgectl status`` says, by device."""
        return {row["device"]: row for row in json.loads(self.run("-o", "json", "status"))}

    def place(self, device: str) -> tuple[str, int]:
        """Return host and port where a device answers."""
        address = urlsplit(self.devices[device]["url"])
        return address.hostname or "", address.port or 0

    def answer(self, device: str) -> list[float]:
        """Ask a device's model for the product of ones."""
        connection = http.client.HTTPConnection(*self.place(device), timeout=10)
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}
        connection.request("POST", "/v2/models/tiny/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == 200, body
        data: list[float] = json.loads(body)["outputs"][0]["data"]
        return data

    def answers(self) -> set[tuple[float, ...]]:
        """Return what the devices answer."""
        return {tuple(self.answer(device)) for device in self.devices}

    # The emulator

    @contextlib.contextmanager
    def emulated(
        self, provider: str, *arguments: str, env: dict[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Start the emulator; yield what it tells of itself."""
        info, log = self.folder / "fleet.json", self.folder / "emulator.log"
        info.unlink(missing_ok=True)
        usual = ["--dir", str(self.folder / "fleet"), "--info", str(info), "--stop-on-eof"]
        with log.open("wb") as said:
            process = subprocess.Popen(
                self.command("emulate", provider, *usual, *arguments),
                cwd=self.folder,
                env=self.env | (env or {}),
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
            )
        try:
            deadline = time.monotonic() + self.up_s
            while not info.exists():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            found: dict[str, Any] = json.loads(info.read_text())
            self.env.update(found["env"])
            self.control = found.get("control", "")
            self.devices = {device["name"]: device for device in found.get("devices", ())}
            yield found
        finally:
            process.terminate()
            process.communicate()

    def trust(self) -> ssl.SSLContext | None:
        """Return whom to trust as the emulator; None where it has no TLS."""
        return None

    def steer(self, method: str, route: str, **body: Any) -> Any:
        """Tell the emulator something, or ask it."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.control}/{route}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=30, context=self.trust()) as answer:
            return json.loads(answer.read() or b"null")

    def calls(self) -> dict[str, dict[str, int]]:
        """Return the emulator's counts: ``total``, and peaks within the spans of its rates."""
        found: dict[str, dict[str, int]] = self.steer("GET", "calls")
        return found

    def forget_calls(self) -> None:
        """Begin to count anew."""
        self.steer("DELETE", "calls")

    @contextlib.contextmanager
    def cut_in_mid_rollout(
        self, version: str, outage: str, env: dict[str, str], *, after: str, calls: str = "*"
    ) -> Iterator[subprocess.Popen[str]]:
        """Deploy a new version, and cut the line to the provider once it goes out.

        Args:
            version: Also the number that its model multiplies by.
            outage: How long the rollout is to bear it.
            env: More for the environment of the command.
            after: The call that is answered last, as ``calls`` names it.
            calls: What is not answered any more until this is left.
        """
        self.build(version, float(version))
        project = self.folder / "edgectl.yaml"
        project.write_text(project.read_text().replace("soak: 0s,", f"soak: 0s, outage: {outage},"))
        self.forget_calls()
        with self.start("deploy", "--poll", "0.2", env=env) as process:
            wait_until(lambda: self.calls()["total"].get(after, 0) > 0)
            self.steer("POST", "faults", operation=calls, times=None)  # no code: the line is cut
            try:
                yield process
            finally:
                self.steer("DELETE", "faults")


def spoil_golden(project: Path) -> None:
    """Make a project's registered golden set wrong, as a device that computes otherwise sees it."""
    prepared = json.loads((project / ".edgectl/build/prepared.json").read_text())
    with np.load(prepared["golden"]) as data:
        arrays = {key: data[key] for key in data.files}
    arrays = {k: v + 1 if k.startswith("output.") else v for k, v in arrays.items()}
    np.savez(prepared["golden"], **arrays)


def wait_until(holds: Callable[[], bool], timeout_s: float = 90.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
