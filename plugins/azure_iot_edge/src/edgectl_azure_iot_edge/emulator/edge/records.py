"""The words that the parts of a virtual device share: what is wanted, and what there is.

Names and values are those of the vendor's deployment schema (module-edgeagent-edgehub), so that a
record is written into a twin as it stands.
"""

from __future__ import annotations

import enum
from typing import Literal

from edgectl.api import Record

EDGE_AGENT = "edgeAgent"
EDGE_HUB = "edgeHub"
LAST_ORDER = 4_294_967_295

Status = Literal["running", "stopped"]
RestartPolicy = Literal["never", "on-failure", "on-unhealthy", "always"]
PullPolicy = Literal["on-create", "never"]


class RuntimeStatus(enum.StrEnum):
    """What the agent says of a module (doc/reported_states_during_deployment.md)."""

    UNKNOWN = "unknown"
    BACKOFF = "backoff"
    RUNNING = "running"
    UNHEALTHY = "unhealthy"
    STOPPED = "stopped"
    FAILED = "failed"


class Credential(Record, frozen=True, kw_only=True):
    """What a registry is entered with."""

    address: str
    username: str
    password: str


class ModuleSpec(Record, frozen=True, kw_only=True):
    """A module as a deployment wants it.

    Attributes:
        create_options: Docker's container-create document as JSON text, its parts put together.
        startup_order: Lower ones are begun first.
        status: What is wanted of it; it alone may change without the module being made anew.
    """

    name: str
    image: str
    create_options: str = "{}"
    env: dict[str, str] = {}
    status: Status = "running"
    restart_policy: RestartPolicy = "always"
    pull_policy: PullPolicy = "on-create"
    startup_order: int = LAST_ORDER
    version: str = ""


class Deployment(Record, frozen=True, kw_only=True):
    """The desired properties of ``$edgeAgent``, read.

    Attributes:
        version: ``$version`` of the twin's desired section.
        modules: The user's modules and ``edgeHub``; ``edgeAgent`` stands apart.
    """

    version: int
    schema_version: str
    min_docker_version: str
    credentials: tuple[Credential, ...]
    agent: ModuleSpec
    modules: dict[str, ModuleSpec]


class Module(Record, frozen=True, kw_only=True):
    """A module that there is: how it was made, and how it is.

    Attributes:
        image_hash: Digest of the image that it really runs.
        started_at: Of its last start, in seconds of the epoch; 0 when it never started.
        exited_at: Of its last end; 0 when it never ended.
        restart_count: How often the restart policy started it since it was last healthy.
    """

    spec: ModuleSpec
    status: RuntimeStatus
    description: str = ""
    exit_code: int = 0
    image_hash: str = ""
    started_at: float = 0.0
    exited_at: float = 0.0
    restart_count: int = 0
    restarted_at: float = 0.0
