"""hawkBit's Direct Device Integration API: its documents, and one call per resource.

Source: hawkBit DDI v1 OpenAPI; unknown keys are ignored, as the API may grow.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from edge_components.agent.backoff import parse_sleep
from edge_components.agent.http import HubHttp
from edge_components.contract.device import HubSection

MAX_MESSAGE_CHARS = 500


class _Polling(msgspec.Struct, frozen=True):
    sleep: str = ""


class _Config(msgspec.Struct, frozen=True):
    polling: _Polling = _Polling()


class Link(msgspec.Struct, frozen=True):
    """A HAL link."""

    href: str


class _Links(msgspec.Struct, frozen=True, rename="camel"):
    deployment_base: Link | None = None
    cancel_action: Link | None = None
    config_data: Link | None = None


class Root(msgspec.Struct, frozen=True):
    """The controller's root resource: when to poll again, and what there is to do."""

    config: _Config = _Config()
    links: _Links = msgspec.field(name="_links", default=_Links())

    def sleep_s(self) -> float:
        """Return the seconds until the next poll."""
        return parse_sleep(self.config.polling.sleep)


class _Hashes(msgspec.Struct, frozen=True):
    sha256: str = ""


class _Downloads(msgspec.Struct, frozen=True, rename="kebab"):
    download: Link | None = None
    download_http: Link | None = None


class Artifact(msgspec.Struct, frozen=True):
    """One file of an order."""

    filename: str
    size: int = 0
    hashes: _Hashes = _Hashes()
    links: _Downloads = msgspec.field(name="_links", default=_Downloads())

    def href(self) -> str | None:
        """Return where it is, over TLS where the hub offers both."""
        link = self.links.download or self.links.download_http
        return None if link is None else link.href


class Chunk(msgspec.Struct, frozen=True):
    """One software module of an order."""

    name: str = ""
    version: str = ""
    part: str = ""
    artifacts: tuple[Artifact, ...] = ()


class Deployment(msgspec.Struct, frozen=True, rename="camel"):
    """How and what: ``skip``, ``attempt`` or ``forced``, and the maintenance window."""

    chunks: tuple[Chunk, ...] = ()
    download: str = "forced"
    update: str = "forced"
    maintenance_window: str = ""

    def may_download(self) -> bool:
        """Return whether files may be fetched now."""
        return self.download != "skip"

    def may_install(self) -> bool:
        """Return whether the new version may be installed now."""
        return self.update != "skip" and self.maintenance_window != "unavailable"


class Order(msgspec.Struct, frozen=True):
    """An open action."""

    id: str
    deployment: Deployment


class _Stop(msgspec.Struct, frozen=True, rename="camel"):
    stop_id: str


class _Cancel(msgspec.Struct, frozen=True, rename="camel"):
    cancel_action: _Stop
    id: str = ""


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What the device says of an action.

    Attributes:
        execution: ``proceeding``, ``download``, ``downloaded``, ``rejected`` or ``closed``.
        finished: ``none``, ``success`` or ``failure``.
        cancel: Whether it answers a cancellation instead of the deployment.
    """

    action: str
    execution: str
    finished: str = "none"
    details: tuple[str, ...] = ()
    cancel: bool = False


class DdiClient:
    """One device's calls; each raises ``HubError``."""

    def __init__(self, http: HubHttp, hub: HubSection, device: str) -> None:
        self.http = http
        self._root = f"{quote(hub.tenant, safe='')}/controller/v1/{quote(device, safe='')}"

    def poll(self) -> Root:
        """Return what there is to do."""
        return self.http.get_json(self._root, Root, what="the poll")

    def order(self, href: str) -> Order:
        """Return the open action."""
        return self.http.get_json(href, Order, what="the deployment")

    def stop_id(self, href: str) -> str:
        """Return the action that is to be canceled."""
        cancel = self.http.get_json(href, _Cancel, what="the cancellation")
        return cancel.cancel_action.stop_id

    def put_attributes(self, attributes: dict[str, str]) -> None:
        """Merge attributes into what the hub knows of the device."""
        body = {"mode": "merge", "data": attributes}
        self.http.send_json("PUT", f"{self._root}/configData", body, what="the attributes")

    def send(self, feedback: Feedback) -> None:
        """Report on an action, or on its cancellation."""
        resource = "cancelAction" if feedback.cancel else "deploymentBase"
        href = f"{self._root}/{resource}/{quote(feedback.action, safe='')}/feedback"
        body = {
            "status": {
                "execution": feedback.execution,
                "result": {"finished": feedback.finished},
                "details": [text[:MAX_MESSAGE_CHARS] for text in feedback.details],
            },
        }
        self.http.send_json("POST", href, body, what="the feedback")
