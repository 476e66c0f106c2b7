"""The fleets of ``rollout.py``: the project, the emulator and the books of each provider.

The books say what a rollout asked for: calls in all, those that write, the most within a minute
or a second beside what the vendor documents, and to how many devices the release was given. The
last two are the emulator's own word, not the driver's.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from _cloud import EDGECTL, TRAIN, Cloud, emulated

PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "1"
train: {command: [python, train.py], outputs: {model: out/model.onnx}}
model: {path: out/model.onnx}
device: {soak: 0s}
targets:
  all: {provider: NAME, hardware: x86-64-cpu, selector: SELECTOR}
rollout: {waves: [1, 10%, 100%], soak: 0s, timeout: 6h}
providers:
  NAME: SETTINGS
"""
READS = ("Get", "List", "Describe", "Head", "Search", "Query", "Test", "get", "list", "watch")
GKE_CLUSTERS = 4
AZURE_FILES = 2
"""Connections that a pretended edge device has: one for its agent and one for its module."""


class Books(NamedTuple):
    """What a rollout asked for.

    Attributes:
        calls: All calls; None where there is no server that counts.
        writes: Those that change something.
        given: Devices that were given the release, each time counted; None where it is unknown.
        peaks: Kind of call → the most within its time, what is documented for that, the time.
    """

    calls: int | None = None
    writes: int | None = None
    given: int | None = None
    peaks: dict[str, tuple[float, float, str]] = {}


class Fleet(NamedTuple):
    """A provider at work.

    Attributes:
        cloud: The folder of the project, and what commands need.
        forget: Begins the books anew.
        books: Reads them.
        edgectl: The drivers' command.
    """

    cloud: Cloud
    forget: Callable[[], None]
    books: Callable[[], Books]
    edgectl: Sequence[str] = EDGECTL


class Book:
    """The requests of drivers, counted on their side.

    Args:
        file: Where ``_counted.py`` writes them down.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        counted = Path(__file__).with_name("_counted.py")
        self.edgectl = (sys.executable, str(counted), str(file))

    def forget(self) -> None:
        """Begin anew."""
        self._file.write_text("")

    def read(self, given: int | None = None) -> Books:
        """Return what was counted."""
        methods = self._file.read_text().split()
        return Books(len(methods), sum(method != "GET" for method in methods), given)


@contextlib.contextmanager
def memory(folder: Path, size: int) -> Iterator[Fleet]:
    """Open the in-memory provider, with its file outside of any project's folder."""
    slow = "{'*': {observations: 4}}"
    settings = f"{{devices: {size}, path: {folder / 'fleet.json'}, behaviours: {slow}}}"
    project = _project("memory", "{}", settings)
    (folder / "train.py").write_text(TRAIN)
    (folder / "edgectl.yaml").write_text(project)
    cloud = Cloud(folder, dict(os.environ), "", "")
    cloud.build("selfhosted")
    yield Fleet(cloud, lambda: None, Books)


@contextlib.contextmanager
def selfhosted(folder: Path, size: int) -> Iterator[Fleet]:
    """Start a hub and a crowd."""
    settings = (
        "{url: '${EDGECTL_HUB_URL:-http://127.0.0.1:1}', username: admin, "
        "password_file: '${EDGECTL_HUB_PASSWORD_FILE:-none}'}"
    )
    project = _project("selfhosted", "{tags: {site: tiny}}", settings)
    crowd = ("--devices", "0", "--crowd", str(size), "all")
    with emulated("selfhosted", project, folder, *crowd) as cloud:
        cloud.build()
        book = Book(folder / "requests")
        yield Fleet(cloud, book.forget, lambda: book.read(_actions(cloud)), book.edgectl)


@contextlib.contextmanager
def aws(folder: Path, size: int) -> Iterator[Fleet]:
    """Start an account and a crowd of things."""
    settings = "{region: us-east-1, bucket: tiny-models}"
    project = _project("aws", "{thing_group: tiny-fleet}", settings)
    crowd = ("--devices", "0", "--crowd", str(size), "all")
    with emulated("aws", project, folder, *crowd) as cloud:
        cloud.build("aws")
        yield Fleet(cloud, lambda: _forget(cloud), lambda: _aws_books(cloud))


@contextlib.contextmanager
def azure(folder: Path, size: int) -> Iterator[Fleet]:
    """Start a hub of one S3 unit and a crowd of edge devices.

    S1 takes 50 twin writes a second of devices and services together: ten thousand devices keep
    it busy for ten minutes, whoever drives. A fleet of that size has a larger hub.
    """
    settings = (
        "{subscription_id: none, resource_group: edgectl, iot_hub: edgectl-hub, tier: S3, "
        "registry: '${EDGECTL_AZURE_REGISTRY:-none}'}"
    )
    project = _project("azure", "{tags: {site: tiny}}", settings)
    crowd = ("--devices", "0", "--crowd", str(size), "all")
    with emulated("azure", project, folder, *crowd) as cloud:
        cloud.build()
        yield Fleet(cloud, lambda: _forget(cloud), lambda: _azure_books(cloud))


@contextlib.contextmanager
def gke(folder: Path, size: int) -> Iterator[Fleet]:
    """Start clusters whose nodes only pretend."""
    settings = (
        "{registry: '${GKE_REGISTRY:-none}', kubeconfig: '${GKE_KUBECONFIG:-none}', "
        "progress_deadline_s: 7200}"
    )
    project = _project("gke", "{nodes: {fleet: tiny}}", settings)
    clusters = GKE_CLUSTERS if size >= GKE_CLUSTERS else 1
    more = ("--clusters", str(clusters), "--nodes", "0", "--crowd", str(size // clusters))
    with emulated("gke", project, folder, "-p", ".", *more) as cloud:
        cloud.build()
        book = Book(folder / "requests")
        yield Fleet(cloud, book.forget, book.read, book.edgectl)


def most(provider: str, size: int) -> int:
    """Return how many devices there can be of so many wanted: a process may open so many files."""
    if provider != "azure":
        return size
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return size if allowed == resource.RLIM_INFINITY else min(size, allowed // AZURE_FILES - 200)


FLEETS: dict[str, Callable[[Path, int], contextlib.AbstractContextManager[Fleet]]] = {
    "memory": memory,
    "selfhosted": selfhosted,
    "aws": aws,
    "azure": azure,
    "gke": gke,
}


def _project(name: str, selector: str, settings: str) -> str:
    return PROJECT.replace("NAME", name).replace("SELECTOR", selector).replace("SETTINGS", settings)


def _forget(cloud: Cloud) -> None:
    cloud.ask("calls", "DELETE")


def _actions(cloud: Cloud) -> int:
    """Return how many assignments the hub ever made."""
    password = Path(cloud.env["EDGECTL_HUB_PASSWORD_FILE"]).read_text().strip()
    login = base64.b64encode(f"admin:{password}".encode()).decode()
    request = urllib.request.Request(
        f"{cloud.env['EDGECTL_HUB_URL']}/rest/v1/actions?limit=1",
        headers={"Authorization": f"Basic {login}"},
    )
    with urllib.request.urlopen(request) as answer:
        return int(json.load(answer)["total"])


def _aws_books(cloud: Cloud) -> Books:
    counted, limits = cloud.ask("calls"), cloud.ask("rates")
    peaks = {
        name: (float(peak), float(limits[name]), "second")
        for name, peak in counted["peak_per_second"].items()
        if name in limits
    }
    total = counted["total"]
    return Books(sum(total.values()), _writes(total), None, peaks)


def _azure_books(cloud: Cloud) -> Books:
    counted, limits = cloud.ask("calls"), cloud.ask("rates")
    peaks = {}
    spans = (("minute", 60.0, ("Configuration", "Query", "Registry")),)
    spans += (("second", 1.0, ("TwinRead", "TwinWrite")),)
    for span, seconds, kinds in spans:
        for kind in kinds:
            peak = counted[f"peak_per_{span}"].get(f"rate.{kind}", 0)
            peaks[kind] = (float(peak), limits[kind] * seconds, span)
    total = {n[4:]: c for n, c in counted["total"].items() if n.startswith("hub.")}
    return Books(sum(total.values()), _writes(total), None, peaks)


def _writes(total: dict[str, int]) -> int:
    return sum(n for name, n in total.items() if not name.rpartition(".")[2].startswith(READS))
