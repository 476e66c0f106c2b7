"""The conformance kit against the hub (and a real hawkBit), with devices that follow orders."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from edgectl import api
from edgectl.api import Provider, State
from edgectl.testing.conformance import ProviderConformance

POLL_S = 0.1
TELLING = threading.Lock()  # records arrive in the order in which they came about


class FollowingDevice:
    """A device that takes every release, says so, and tells a little."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._begun = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failure: Exception | None = None
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            try:
                self._step()
            except KeyError:
                continue  # an operator took the order back between two polls
            except httpx.HTTPStatusError as exc:
                # Or between two other requests.
                if exc.response.status_code not in {404, 410}:
                    self.failure = exc
                    return

    def _step(self) -> None:
        links = self._device.poll()
        if "cancelAction" in links:
            self._device.accept_cancel()
            if self._begun:
                self._device.report(self._begun, State.SKIPPED, reason=api.Reason.CANCELED)
                self._begun = 0
        elif "deploymentBase" in links:
            self._take(self._device.deployment()["deployment"])

    def _take(self, deployment: dict[str, Any]) -> None:
        files = {a["filename"]: a for chunk in deployment["chunks"] for a in chunk["artifacts"]}
        envelope = self._device.download(files[api.RELEASE_FILE])
        payload = api.parse_release_envelope(envelope).payload_bytes()
        release = msgspec.json.decode(payload, type=api.ReleaseDocument)
        about = {"application": release.application, "package": release.package}
        self._device.report(release.number, State.DOWNLOADING, **about)
        self._begun = release.number
        self._device.feedback("success")
        self._begun = 0
        with TELLING:
            self._tell(release)
        self._device.report(
            release.number,
            State.HEALTHY,
            active_release=release.number,
            active_package=release.package,
            **about,
        )

    def _tell(self, release: api.ReleaseDocument) -> None:
        telemetry = self._device.config.telemetry
        records = [
            api.TelemetryRecord(
                id=f"{self._device.id}-{release.application}-{release.number}-{n}",
                kind=kind,
                time_unix_ns=time.time_ns(),
                device=self._device.id,
                application=release.application,
            )
            for n, kind in enumerate((api.Kind.EVENT, api.Kind.PREDICTION))
        ]
        headers = {"Authorization": telemetry.authorization, "Content-Type": "application/json"}
        said = httpx.post(telemetry.url, content=api.to_otlp(records), headers=headers)
        if said.status_code != 404:  # a real hawkBit takes none
            said.raise_for_status()


class TestSelfhosted(ProviderConformance):
    """Everything that a provider has to keep."""

    settle_timeout_s = 30.0

    @pytest.fixture
    def provider(self, open_plugin: Callable[..., Provider]) -> Provider:
        """Opened by name, as the command line opens it."""
        return open_plugin()

    @pytest.fixture
    def target(self, fleet: Any) -> Iterator[api.Target]:
        """Two devices that follow orders."""
        devices = [FollowingDevice(fleet.device(name)) for name in ("one", "two")]
        try:
            yield fleet.target
        finally:
            for device in devices:
                device.close()

    @pytest.fixture
    def empty_target(self, unique: str) -> api.Target:
        """A tag that no device has."""
        return api.Target(name="none", provider="selfhosted", selector={"tag": f"no-{unique}"})

    @pytest.fixture
    def second_provider(self, open_plugin: Callable[..., Provider]) -> Provider:
        """Another operator's."""
        return open_plugin()

    @pytest.fixture
    def secrets(self, server: Any) -> tuple[str, ...]:
        """The operator's password."""
        return (server.password,) if server.kind == "hub" else ()

    def _need_withdraw(self, provider: Provider) -> None:
        """Taking a release back works; what is installed cannot be removed, and is not claimed."""
        assert not provider.capabilities().withdraw
