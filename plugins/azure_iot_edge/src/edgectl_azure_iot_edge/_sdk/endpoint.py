"""Where the hub's built-in endpoint is: told by the user, or by the hub itself.

IoT Hub answers who attaches to ``messages/events`` over AMQP with a redirect to its Event
Hubs-compatible endpoint ("Read device-to-cloud messages from the built-in endpoint"; Event Hubs'
samples that turn an IoT Hub connection string into one of theirs). The redirect is read with the
AMQP client inside azure-eventhub, which has no public way to it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from azure.eventhub._pyamqp.authentication import SASLPlainAuth
from azure.eventhub._pyamqp.client import ReceiveClient
from azure.eventhub._pyamqp.error import AMQPException, AMQPLinkRedirect

from edgectl.api import AuthError, ProjectError, UnreachableError
from edgectl_azure_iot_edge._sdk.hub import connection_of
from edgectl_azure_iot_edge._sdk.sas import ConnectionString, sign
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.telemetry import Endpoint, parse_endpoint, split_host

ENDPOINT_VARIABLE = "EDGECTL_AZURE_EVENTHUB"
_TOKEN_S = 3600
_ANSWER_S = 30.0
_BUILT_IN = "/messages/events/$management"
_HINT = (
    f"set {ENDPOINT_VARIABLE} to the Event Hubs-compatible connection string of the hub's "
    "built-in endpoint (portal: Built-in endpoints)"
)


def find_endpoint(config: AzureConfig) -> Endpoint:
    """Return the endpoint: from the environment, the project file, or the hub's own redirect.

    Raises:
        ProjectError: Nothing says where it is.
        AuthError: The hub's key is refused.
        UnreachableError: The hub does not answer.
    """
    if text := os.environ.get(ENDPOINT_VARIABLE, ""):
        found = parse_endpoint(text)
        if found is None:
            raise ProjectError(
                f"{ENDPOINT_VARIABLE} is no Event Hubs connection string", hint=_HINT
            )
        return found
    connection = connection_of(config)
    settings = config.telemetry
    if settings.endpoint and settings.event_hub:
        host, port = split_host(settings.endpoint)
        policy, key = (connection.policy, connection.key) if connection else ("", "")
        return Endpoint(host=host, port=port, name=settings.event_hub, policy=policy, key=key)
    if connection is None:
        raise ProjectError(
            "nothing says where the hub's built-in endpoint is: a login cannot ask the hub for it",
            hint=f"{_HINT}; or set `endpoint` and `event_hub` of providers.azure.telemetry",
        )
    return _asked(connection)


_LOCK = threading.Lock()
_KNOWN: dict[tuple[str, str], Endpoint] = {}


def _asked(connection: ConnectionString) -> Endpoint:
    key = (connection.host, connection.policy)
    with _LOCK:
        if key not in _KNOWN:
            _KNOWN[key] = redirected(connection)
        return _KNOWN[key]


def redirected(connection: ConnectionString, address: str = "") -> Endpoint:
    """Ask the hub where its built-in endpoint is.

    Args:
        connection: Whose key signs; the endpoint takes the same one.
        address: ``host:port`` to connect to, where it is not the hub's own at AMQP's port.

    Raises:
        AuthError: The hub refuses.
        UnreachableError: It does not answer, or not with a redirect.
    """
    host, _ = split_host(connection.host)
    what = f"cannot ask '{host}' where its built-in endpoint is"
    client: Any = ReceiveClient(  # type: ignore[no-untyped-call]  # private, it has no types
        host,
        f"amqps://{host}{_BUILT_IN}",
        auth=_login(connection, host),
        custom_endpoint_address=f"sb://{address}" if address else None,
        connection_verify=trusted(),
    )
    try:
        client.open()
        deadline = time.monotonic() + _ANSWER_S
        while not client.client_ready() and time.monotonic() < deadline:
            time.sleep(0.01)
        while time.monotonic() < deadline:
            client.do_work()
        raise UnreachableError(f"{what}: it gives no redirect in {_ANSWER_S:g} s", hint=_HINT)
    except AMQPLinkRedirect as exc:
        return _endpoint(exc, connection)
    except AMQPException as exc:
        if b"unauthorized" in bytes(exc.condition):
            raise AuthError(f"{what}: {_first(exc)}", hint=_HINT) from exc
        raise UnreachableError(f"{what}: {_first(exc)}", hint=_HINT) from exc
    except (OSError, ValueError) as exc:
        # A SASL login that is refused is a ValueError of the client's.
        if "SASL" in str(exc):
            raise AuthError(f"{what}: the policy's key is refused", hint=_HINT) from exc
        raise UnreachableError(f"{what}: {_first(exc)}", hint=_HINT) from exc
    finally:
        client.close()


def _login(connection: ConnectionString, host: str) -> SASLPlainAuth:
    name = host.partition(".")[0]
    token = sign(connection, int(time.time()) + _TOKEN_S)
    return SASLPlainAuth(f"{connection.policy}@sas.root.{name}", token)


def _endpoint(redirect: AMQPLinkRedirect, connection: ConnectionString) -> Endpoint:
    name = urlsplit(redirect.address).path.strip("/").split("/")[0]
    if not redirect.hostname or not name:
        raise UnreachableError("the hub's redirect names no endpoint", hint=_HINT) from redirect
    return Endpoint(
        host=redirect.hostname,
        port=redirect.port,
        name=name,
        policy=connection.policy,
        key=connection.key,
    )


def trusted() -> str | None:
    """Return the authorities that users of Azure's SDKs name; None for certifi's."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or None


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
