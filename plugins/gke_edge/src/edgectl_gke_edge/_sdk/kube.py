"""One Kubernetes API server: the few verbs that we need, with errors that say what failed.

Documents go in and come out as plain dictionaries: what is decided about them is decided without
any SDK. Everything is written by server-side apply with our own field manager, never by force.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import httpx2
import msgspec
from lightkube import ApiError, Client
from lightkube.config.client_adapter import user_auth, verify_cluster
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError
from lightkube.core.resource import api_info
from lightkube.core.selector import build_selector
from lightkube.types import CascadeType, PatchType

from edgectl.api import AuthError, NotFoundError, ProviderError
from edgectl_gke_edge._sdk.kinds import BY_NAME, Kind
from edgectl_gke_edge._sdk.wire import Token, Wire
from edgectl_gke_edge.errors import (
    KUBECONFIG_HINT,
    Cause,
    Refusal,
    from_refusal,
    not_reached,
)
from edgectl_gke_edge.names import FIELD_MANAGER

Document = dict[str, Any]
CHUNK = 500
CONNECT_S = 5.0
MAX_PROXIED_BYTES = 1 << 16
QUIET_S = 0.2
"""A watch that says nothing for so long has told what has changed until now."""
WATCH_S = 1
"""And it ends after so long, however much there is to tell: the next look goes on from there."""
GONE = 410

Labels = dict[str, Any]
T = TypeVar("T")


class ForgottenError(Exception):
    """The server does not know any more what has changed since a version."""


class Asked(NamedTuple):
    """Which objects are meant.

    Attributes:
        what: What is done with them, for messages.
        kind: Of which kind.
        namespace: Where; None for kinds outside namespaces.
        labels: Which of them; None for all.
    """

    what: str
    kind: Kind
    namespace: str | None = None
    labels: Labels | None = None


class Change(msgspec.Struct, frozen=True):
    """What a watch tells.

    Attributes:
        type: ``ADDED``, ``MODIFIED``, ``DELETED``, ``BOOKMARK`` or ``ERROR``.
        object: The object as it is now, or was; the ``Status`` of an error.
    """

    type: str
    object: Document


_CHANGE = msgspec.json.Decoder(Change)
"""Made while importing: two threads that first decode a type at the same time crash msgspec."""


class Kube:
    """A cluster's API.

    Args:
        cluster: The cluster's name, for messages.
        config: Server, authorities and user.
        token: Where the bearer token comes from; None takes what ``config`` says.
        timeout_s: How long one request may stand still.
        attempts: How often a call is tried.
    """

    def __init__(
        self,
        cluster: str,
        config: SingleConfig,
        *,
        token: Token | None = None,
        timeout_s: float = 20.0,
        attempts: int = 4,
    ) -> None:
        self.cluster = cluster
        config = config if config.user is not None else config._replace(user=User())
        user = config.user or User()
        try:
            trusted = verify_cluster(config.cluster, user, config.abs_file)
            self._wire = Wire(config.cluster.server, trusted, token=token, attempts=attempts)
            timeout = httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
            self._client = Client(
                config=config,
                timeout=timeout,
                field_manager=FIELD_MANAGER,
                transport=self._wire,
                lazy=False,
            )
            self._plain = httpx2.Client(
                base_url=config.cluster.server,
                transport=self._wire,
                timeout=timeout,
                auth=user_auth(user),
            )
        except (ConfigError, OSError, ValueError) as exc:
            raise AuthError(
                f"the credentials for cluster '{cluster}' cannot be used: {exc}",
                hint=KUBECONFIG_HINT,
            ) from exc

    def now(self) -> float:
        """Return the time by the server's clock."""
        return self._wire.now()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._plain.close()

    def version(self) -> tuple[int, int]:
        """Return the server's major and minor version."""
        what = "ask for the version"
        with self._told(what):
            response = self._plain.get("/version")
            response.raise_for_status()
            told = response.json()
        try:
            return int(told["major"]), int("".join(c for c in told["minor"] if c.isdigit()))
        except (KeyError, TypeError, ValueError) as exc:
            raise ProviderError(
                f"cannot {what}: cluster '{self.cluster}' answers otherwise than Kubernetes does"
            ) from exc

    def get(
        self, what: str, kind: Kind, name: str, namespace: str | None = None
    ) -> Document | None:
        """Return an object, or None if there is none."""
        try:
            with self._told(what):
                found = self._client.get(kind, name, **_within(namespace))
        except NotFoundError:
            return None
        return _plain(found)

    def snapshot(self, asked: Asked, read: Callable[[Document], T]) -> tuple[list[T], str]:
        """Return what ``read`` makes of all objects, and the version of the whole.

        They are read in chunks: thousands of pods fill hundreds of MB.
        """
        with self._told(asked.what):
            found = self._client.list(
                asked.kind,
                chunk_size=CHUNK,
                labels=asked.labels or None,
                **_within(asked.namespace),
            )
            return [read(_plain(item)) for item in found], found.resourceVersion

    def list(
        self,
        what: str,
        kind: Kind,
        namespace: str | None = None,
        labels: Labels | None = None,
    ) -> list[Document]:
        """Return all objects of a kind."""
        return self.snapshot(Asked(what, kind, namespace, labels), lambda document: document)[0]

    def changes(self, asked: Asked, version: str) -> Iterator[Change]:
        """Yield what has changed in objects since a version, until the server is quiet.

        What leaves the selection is ``DELETED`` for it; a bookmark is only a later version.

        Raises:
            ForgottenError: The server does not know any more.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        if asked.labels:
            query["labelSelector"] = build_selector(asked.labels)
        with self._told(asked.what):
            yield from self._watched(_path(asked.kind, asked.namespace), query)

    def _watched(self, path: str, query: dict[str, str]) -> Iterator[Change]:
        with self._plain.stream("GET", path, params=query) as response:
            if response.is_error:
                response.read()
            if response.status_code == GONE:
                raise ForgottenError
            response.raise_for_status()
            # The answer has begun; from now on silence is no fault.
            response.request.extensions["timeout"]["read"] = QUIET_S
            with contextlib.suppress(httpx2.ReadTimeout):
                for line in response.iter_lines():
                    change = _CHANGE.decode(line)
                    if change.type == "ERROR":
                        raise ForgottenError
                    yield change

    def apply(self, what: str, document: Document, *, dry_run: bool = False) -> Document:
        """Apply a document as our field manager; what others own is a ``ConflictError``."""
        metadata = document["metadata"]
        with self._told(what):
            made = self._client.patch(
                BY_NAME[document["kind"]],
                metadata["name"],
                document,
                patch_type=PatchType.APPLY,
                dry_run=dry_run,
                **_within(metadata.get("namespace")),
            )
        return _plain(made)

    def merge(
        self,
        what: str,
        kind: Kind,
        name: str,
        patch: Document,
        namespace: str | None = None,
    ) -> Document:
        """Change some fields of an object."""
        with self._told(what):
            changed = self._client.patch(
                kind, name, patch, patch_type=PatchType.MERGE, **_within(namespace)
            )
        return _plain(changed)

    def create(self, what: str, document: Document) -> Document:
        """Make an object that must not be there yet."""
        kind = BY_NAME[document["kind"]]
        with self._told(what):
            made = self._client.create(kind.from_dict(document))
        return _plain(made)

    def replace(self, what: str, document: Document) -> Document:
        """Write an object anew, if it still has the resource version that the document says."""
        kind = BY_NAME[document["kind"]]
        with self._told(what):
            made = self._client.replace(kind.from_dict(document))
        return _plain(made)

    def delete(
        self,
        what: str,
        kind: Kind,
        name: str,
        namespace: str | None = None,
    ) -> bool:
        """Remove an object and what it made; whether it was there."""
        try:
            with self._told(what):
                self._client.delete(
                    kind, name, cascade=CascadeType.BACKGROUND, **_within(namespace)
                )
        except NotFoundError:
            return False
        return True

    def log(
        self, what: str, pod: str, container: str, namespace: str, *, follow: bool
    ) -> Iterator[str]:
        """Yield a container's log, line by line, to its end where it is followed."""
        with self._told(what):
            lines = self._client.log(
                pod, namespace=namespace, container=container, follow=follow, newlines=False
            )
            yield from lines

    def ask_pod(self, what: str, pod: str, namespace: str, port: int, path: str) -> bytes:
        """Ask a pod's own server through the API server."""
        url = f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{path}"
        with self._told(what):
            response = self._plain.get(url)
            response.raise_for_status()
            return response.content[:MAX_PROXIED_BYTES]

    def may(self, what: str, verb: str, group: str, resource: str, namespace: str) -> bool:
        """Ask whether we may do something (SelfSubjectAccessReview)."""
        resource, _, sub = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": sub}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**attributes, "namespace": namespace}},
        }
        made = self.create(what, review)
        return bool((made.get("status") or {}).get("allowed"))

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except ApiError as exc:
            raise from_refusal(what, self._refusal(exc)) from exc
        except httpx2.HTTPStatusError as exc:
            raise from_refusal(what, _refused(self.cluster, exc.response)) from exc
        except httpx2.TransportError as exc:
            raise not_reached(what, self.cluster, str(exc), type(exc).__name__) from exc
        except ConfigError as exc:
            raise AuthError(
                f"cannot {what}: the credentials for cluster '{self.cluster}' cannot be used: "
                f"{exc}",
                hint=KUBECONFIG_HINT,
            ) from exc

    def _refusal(self, exc: ApiError) -> Refusal:
        status = exc.status
        details = status.details
        causes = (details.causes or []) if details is not None else []
        return Refusal(
            cluster=self.cluster,
            status=int(status.code or exc.response.status_code),
            reason=status.reason or "",
            message=status.message or "",
            causes=tuple(
                Cause(reason=c.reason or "", field=c.field or "", message=c.message or "")
                for c in causes
            ),
        )


def _plain(found: Any) -> Document:
    document: Document = found.to_dict()
    return document


def _refused(cluster: str, response: httpx2.Response) -> Refusal:
    """Read a refusal outside of lightkube; in front of an API server others may refuse, too."""
    try:
        told = response.json()
        reason, message = str(told["reason"]), str(told["message"])
    except (ValueError, KeyError, TypeError):
        reason, message = "", response.text[:400]
    message = " ".join(message.split())
    return Refusal(cluster=cluster, status=response.status_code, reason=reason, message=message)


def _path(kind: Kind, namespace: str | None) -> str:
    info = api_info(kind)
    group, version = info.resource.group, info.resource.version
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    return f"{root}/namespaces/{namespace}/{info.plural}" if namespace else f"{root}/{info.plural}"


def _within(namespace: str | None) -> dict[str, Any]:
    return {} if namespace is None else {"namespace": namespace}
