"""A pretended device: polls, takes what it is given, and says that it runs, or why it does not.

It downloads nothing but a release's envelope, and that once for all devices: it has to say which
release and package it speaks of. What the hub sees else is what it sees of edgectl's agent.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import msgspec

from edgectl.api import (
    RELEASE_FILE,
    DeviceReport,
    Reason,
    ReleaseDocument,
    State,
    parse_release_envelope,
    to_attributes,
)
from edgectl_selfhosted.emulator.crowd.wire import Line, RefusedError

AGENT = "edgectl crowd"


class _Link(msgspec.Struct):
    href: str


class _Poll(msgspec.Struct):
    links: dict[str, _Link] = msgspec.field(name="_links", default_factory=dict)


class _Artifact(msgspec.Struct):
    filename: str
    hashes: dict[str, str]
    links: dict[str, _Link] = msgspec.field(name="_links", default_factory=dict)


class _Chunk(msgspec.Struct):
    artifacts: list[_Artifact] = []


class _Deployment(msgspec.Struct):
    chunks: list[_Chunk]


class _Given(msgspec.Struct):
    id: str
    deployment: _Deployment


class Known:
    """The releases that a device of the crowd has looked into, by the envelope's digest."""

    def __init__(self) -> None:
        self._releases: dict[str, ReleaseDocument] = {}

    async def find(self, given: _Given, line: Line, login: str) -> ReleaseDocument | None:
        """Return the release of a deployment; None if it is not one of edgectl's."""
        for chunk in given.deployment.chunks:
            for artifact in chunk.artifacts:
                if artifact.filename == RELEASE_FILE:
                    return await self._read(artifact, line, login)
        return None

    async def _read(self, artifact: _Artifact, line: Line, login: str) -> ReleaseDocument:
        digest = artifact.hashes["sha256"]
        if digest not in self._releases:
            link = artifact.links.get("download") or artifact.links["download-http"]
            envelope = await line.ask("GET", _path(link.href), login)
            payload = parse_release_envelope(envelope).payload_bytes()
            self._releases[digest] = msgspec.json.decode(payload, type=ReleaseDocument)
        return self._releases[digest]


class Member:
    """One device.

    Args:
        name: Its controller id.
        token: What it proves itself with.
        hardware: Its profile.
        known: The releases that the crowd knows.
        fails: Whether it fails every release.
    """

    def __init__(self, name: str, token: str, hardware: str, known: Known, *, fails: bool) -> None:
        self._login = f"TargetToken {token}"
        self._root = f"/DEFAULT/controller/v1/{quote(name, safe='')}"
        self._hardware = hardware
        self._known = known
        self._fails = fails
        self._active: ReleaseDocument | None = None
        self._report = DeviceReport(hardware=hardware, agent=AGENT)

    async def turn(self, line: Line) -> None:
        """Poll, and do what there is to do.

        Raises:
            OSError: The hub does not answer.
            RefusedError: It does not want what the device says.
        """
        links = msgspec.json.decode(await self._get(line, self._root), type=_Poll).links
        if "cancelAction" in links:
            await self._give_up(line, links["cancelAction"])
        elif "deploymentBase" in links:
            await self._take(line, links["deploymentBase"])
        elif "configData" in links:
            await self._say(line)

    async def _take(self, line: Line, link: _Link) -> None:
        raw = await self._get(line, _path(link.href))
        given = msgspec.json.decode(raw, type=_Given)
        release = await self._known.find(given, line, self._login)
        good = release is not None and not self._fails
        if release is not None:
            self._active = release if good else self._active
            self._report = self._outcome(release, good=good)
            await self._say(line)
        finished = "success" if good else "failure"
        await self._close(line, f"deploymentBase/{given.id}", finished)

    async def _give_up(self, line: Line, link: _Link) -> None:
        number = urlsplit(link.href).path.rsplit("/", 1)[1]
        try:
            await self._close(line, f"cancelAction/{number}", "success")
        except RefusedError as exc:
            if exc.status != 404:
                raise

    def _outcome(self, release: ReleaseDocument, *, good: bool) -> DeviceReport:
        active = self._active
        return DeviceReport(
            application=release.application,
            release=release.number,
            package=release.package,
            state=State.HEALTHY if good else State.FAILED,
            reason="" if good else Reason.GOLDEN_FAILED.value,
            active_release=active.number if active else 0,
            active_package=active.package if active else "",
            variant="fp32" if active else "",
            provider="CPUExecutionProvider" if active else "",
            hardware=self._hardware,
            agent=AGENT,
        )

    async def _get(self, line: Line, path: str) -> bytes:
        return await line.ask("GET", path, self._login)

    async def _say(self, line: Line) -> None:
        body = {"mode": "merge", "data": to_attributes(self._report)}
        await line.ask("PUT", f"{self._root}/configData", self._login, body)

    async def _close(self, line: Line, action: str, finished: str) -> None:
        status = {"execution": "closed", "result": {"finished": finished}, "details": []}
        path = f"{self._root}/{action}/feedback"
        await line.ask("POST", path, self._login, {"status": status})


def _path(href: str) -> str:
    parts = urlsplit(href)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
