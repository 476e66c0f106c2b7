"""What holds for every test: no network, no settings from outside, and a word on what was missing.

Sockets are refused but for loopback and unix sockets, in the test's own process; a test marked
``network`` is let through. The home folder and the ``EDGECTL_*`` variables of whoever runs the
tests never reach a test.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import urllib3

# A busy machine is no fault of what is tested: no test asserts how long an example takes.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

LOOPBACK = ["127.0.0.0/8", "::1", "localhost"]
# Real programs that some tests run against when they are there, and what they stand for.
OPTIONAL = {
    "docker-registry": "a real OCI registry",
    "skopeo": "somebody else's reader of OCI layouts",
    "mosquitto": "a real MQTT 5 broker",
    "swupdate": "somebody else's hawkBit client",
    "podman": "real containers on virtual edge devices",
    "java": "a real Eclipse hawkBit server",
}
# Real programs that are found by a variable of controller authors (envtest), not on PATH.
ASSETS = {
    "TEST_ASSET_KUBE_APISERVER": "a real kube-apiserver; scripts/build_kube_apiserver.py builds it",
    "TEST_ASSET_ETCD": "etcd, which a real kube-apiserver needs",
}
FOREIGN = ("EDGECTL_", "EDGE_", "XDG_CONFIG", "XDG_CACHE", "XDG_DATA", "XDG_STATE")
TERMINAL = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES")


def pytest_configure() -> None:
    """Let Ctrl-C be tested also where we began with SIGINT ignored: behind the `&` of a shell."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let only tests marked ``network`` beyond loopback."""
    for item in items:
        if item.get_closest_marker("network"):
            item.add_marker(pytest.mark.enable_socket)
        else:
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))


def clean(patch: pytest.MonkeyPatch) -> None:
    """Take the settings of whoever runs the tests out of the environment."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name in TERMINAL:
            patch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the whole run an empty home; the package cache stays where it was."""
    with pytest.MonkeyPatch.context() as patch:
        cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))  # noqa: PTH111 - no HOME is no error here
        clean(patch)
        patch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR", os.path.join(cache, "uv")))  # noqa: PTH118 - as above
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what one test sets from the next, also where it forgot to take it back."""
    clean(monkeypatch)


@pytest.fixture(autouse=True)
def closed_connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what clients of a test keep open: SDKs know no close, and hundreds of tests add up.

    Above 1,023 files select() fails, which some libraries that tests use wait with.
    """
    made: list[urllib3.PoolManager] = []
    begin = urllib3.PoolManager.__init__

    def note(self: urllib3.PoolManager, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        made.append(self)

    monkeypatch.setattr(urllib3.PoolManager, "__init__", note)
    yield
    for manager in made:
        manager.clear()


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, str] | None:
    """Where nobody watches, name what fails as soon as it fails, and leave out what passes.

    A log that is kept in part then has the names, and no pages of dots.
    """
    if not os.environ.get("CI") or not isinstance(report, pytest.TestReport):
        return None
    if report.failed:
        return "failed" if report.when == "call" else "error", f"{report.nodeid} F\n", "FAILED"
    if report.passed and report.when == "call":
        return "passed", "", ""
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which real servers and tools the run could use."""
    found = [name for name in OPTIONAL if shutil.which(name)]
    terminalreporter.write_line(f"real programs found: {', '.join(found) or 'none'}")
    for name, what in OPTIONAL.items():
        if name not in found:
            terminalreporter.write_line(f"not found: {name} ({what}); its tests are skipped")
    for name, what in ASSETS.items():
        if not os.environ.get(name):
            terminalreporter.write_line(f"not set: {name} ({what}); its tests are skipped")
