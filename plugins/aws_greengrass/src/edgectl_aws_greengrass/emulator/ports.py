"""What the device side of the emulator (broker, data plane) asks of its control plane.

The control plane keeps things, jobs, shadows, components and roles. The broker and the data plane
speak the device protocols and hold no state of the account: they ask here. All methods may be
called from any thread. Callbacks run on the thread that made the change, after all locks are
released: they must be quick and must not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from edgectl.api import Record

GREENGRASS_NAMESPACE = "aws-gg-deployment"
"""The job namespace of Greengrass deployments, as in ``$next/namespace-aws-gg-deployment/get``."""

DEPLOYMENT_SHADOW = "AWSManagedGreengrassV2Deployment"
"""The named shadow that brings a deployment to a thing that is itself the target."""


class CloudError(Exception):
    """The account refuses something.

    Attributes:
        code: The service's own word, for example ``InvalidStateTransition`` (MQTT jobs API),
            ``ResourceNotFoundException`` or ``AccessDeniedException``.
        status: The HTTP status that the service answers with.
        message: The sentence of the answer.
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Principal(Record, frozen=True, kw_only=True):
    """A certificate that the account knows.

    Attributes:
        active: Whether its status is ACTIVE; nothing else may connect.
        things: The things that it is attached to; a crowd's has thousands.
    """

    certificate_id: str
    arn: str
    active: bool
    things: Collection[str]

    @property
    def thing(self) -> str:
        """The first of its things, or ""."""
        return next(iter(self.things), "")


class JobExecution(Record, frozen=True, kw_only=True):
    """One thing's execution of one job, as the MQTT jobs API shows it.

    Attributes:
        status: QUEUED, IN_PROGRESS, SUCCEEDED, FAILED, TIMED_OUT, REJECTED, REMOVED or CANCELED.
        document: The job document, JSON text.
        number: ``executionNumber``.
        version: ``versionNumber``, one more with each update.
        queued_at: Seconds of the epoch, as are ``started_at`` and ``updated_at``.
        details: ``statusDetails``.
    """

    job_id: str
    thing: str
    status: str
    document: str
    number: int
    version: int
    queued_at: int
    updated_at: int
    started_at: int | None = None
    details: dict[str, str] = {}


class Candidate(Record, frozen=True, kw_only=True):
    """A component that a device wants.

    Attributes:
        requirements: Who asks (a component or a target) → an npm version requirement.
        version: A version that the device has already, tried when the cloud has none.
    """

    name: str
    requirements: dict[str, str]
    version: str | None = None


class Platform(Record, frozen=True, kw_only=True):
    """What a device says of itself: ``attributes`` has os, architecture, runtime and own keys."""

    attributes: dict[str, str]
    name: str | None = None


class Resolved(Record, frozen=True, kw_only=True):
    """A component version for a device; ``recipe`` is the canonical JSON, not yet base64."""

    arn: str
    name: str
    version: str
    recipe: bytes


class RoleCredentials(Record, frozen=True, kw_only=True):
    """What the credentials endpoint answers; ``expiration`` is ISO 8601 with a Z."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: str


class Things(Protocol):
    """The registry: certificates, things, groups and device policies."""

    def authenticate(self, cert_pem: bytes) -> Principal | None:
        """Return who a client certificate is, or None for one that the account does not know."""

    def exists(self, thing: str) -> bool:
        """Say whether the registry has the thing."""

    def groups(self, thing: str) -> tuple[tuple[str, str], ...]:
        """Return (name, ARN) of the groups that a thing is in, static and dynamic, sorted."""

    def allows(self, principal: Principal, action: str, resource: str, client_id: str) -> bool:
        """Evaluate the certificate's and its groups' IoT policies, wildcards and variables.

        Args:
            principal: Who asks.
            action: For example ``iot:Connect``, ``iot:Publish``, ``greengrass:ResolveComponent\
Candidates``.
            resource: The full ARN, see ``Cloud.arn``.
            client_id: The MQTT client id; ``${iot:Connection.Thing.ThingName}`` is it when it is
                the name of a thing that the certificate is attached to.
        """

    def connected(self, thing: str, *, connected: bool) -> None:
        """Tell that a thing's MQTT session began or ended."""


class Jobs(Protocol):
    """The jobs data plane (MQTT topics ``$aws/things/T/jobs/…``)."""

    def next(self, thing: str, namespace: str | None) -> JobExecution | None:
        """Return the thing's next execution: an IN_PROGRESS one first, else the oldest QUEUED."""

    def start_next(
        self, thing: str, namespace: str | None, details: dict[str, str]
    ) -> JobExecution | None:
        """Return the next execution after making it IN_PROGRESS (``start-next``)."""

    def pending(
        self, thing: str, namespace: str | None
    ) -> tuple[tuple[JobExecution, ...], tuple[JobExecution, ...]]:
        """Return (in progress, queued), each oldest first."""

    def get(self, thing: str, job_id: str) -> JobExecution:
        """Return one execution.

        Raises:
            CloudError: ``ResourceNotFound``.
        """

    def update(
        self,
        thing: str,
        job_id: str,
        status: str,
        details: dict[str, str] | None,
        expected_version: int | None = None,
    ) -> JobExecution:
        """Take a device's report; None as ``details`` leaves them.

        Raises:
            CloudError: ``ResourceNotFound``, ``InvalidStateTransition``, ``VersionMismatch``,
                ``InvalidRequest``, with the words of the MQTT jobs API.
        """

    def listen(self, callback: Callable[[str], None]) -> None:
        """Be called with a thing's name whenever ``next`` of it may have changed."""


class Shadows(Protocol):
    """The shadow service. ``name`` None is the classic (unnamed) shadow."""

    def get(self, thing: str, name: str | None) -> bytes:
        """Return the document (state with delta, metadata, version, timestamp).

        Raises:
            CloudError: Status 404.
        """

    def update(self, thing: str, name: str | None, payload: bytes) -> bytes:
        """Merge a request into the shadow; return the ``update/accepted`` document.

        The ``accepted``, ``delta`` and ``documents`` messages go to the listeners; a refusal goes
        to the caller only, who publishes ``rejected`` to the device.

        Raises:
            CloudError: Status 400, 404, 409 (version), 413 (over 8 KB).
        """

    def delete(self, thing: str, name: str | None) -> bytes:
        """Delete the shadow; return the ``delete/accepted`` document.

        Raises:
            CloudError: Status 404.
        """

    def listen(self, callback: Callable[[str, bytes], None]) -> None:
        """Be given (topic, payload) of each message that the service publishes to devices."""


class Greengrass(Protocol):
    """The Greengrass V2 data plane; authorization by device policy is the caller's."""

    def resolve(
        self, thing: str, candidates: tuple[Candidate, ...], platform: Platform
    ) -> tuple[Resolved, ...]:
        """Answer ``resolveComponentCandidates``: one version for each candidate.

        Raises:
            CloudError: ``ResourceNotFoundException`` (404), naming component and requirements, when
                no version satisfies them all and has a manifest for the platform.
        """

    def recipe(self, arn: str) -> bytes:
        """Return the canonical recipe of ``arn:…:components:NAME:versions:VERSION``.

        Raises:
            CloudError: ``ResourceNotFoundException``.
        """

    def configuration(self, thing: str, arn: str) -> bytes:
        """Answer ``GetDeploymentConfiguration``: the whole deployment document, JSON.

        Raises:
            CloudError: ``ResourceNotFoundException``.
        """

    def device_status(self, thing: str, payload: bytes) -> None:
        """Take a fleet status message (``$aws/things/T/greengrassv2/health/json``).

        Raises:
            CloudError: ``ValidationException`` for one that is not as the nucleus sends it.
        """


class Cloud(Protocol):
    """The account, as its devices meet it."""

    @property
    def region(self) -> str:
        """The Region, for example ``us-east-1``."""

    @property
    def account(self) -> str:
        """Twelve digits."""

    @property
    def things(self) -> Things:
        """The registry."""

    @property
    def jobs(self) -> Jobs:
        """The jobs data plane."""

    @property
    def shadows(self) -> Shadows:
        """The shadow service."""

    @property
    def greengrass(self) -> Greengrass:
        """The Greengrass data plane."""

    def arn(self, service: str, resource: str) -> str:
        """Return ``arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE``."""

    def credentials(self, role_alias: str, principal: Principal, thing: str) -> RoleCredentials:
        """Assume a role alias's role for a device.

        Raises:
            CloudError: Status 403 when the device policy has no ``iot:AssumeRoleWithCertificate``
                or the role does not trust ``credentials.iot.amazonaws.com``; 404 for an unknown
                alias.
        """

    def publish(self, topic: str, payload: bytes, client_id: str) -> None:
        """Take a message that a device published: topic rules see it.

        The broker calls this for every publish that is not for a service (``$aws/…``).
        """

    def on_publish(self, callback: Callable[[str, bytes], None]) -> None:
        """Be given (topic, payload) of messages that the cloud publishes (API, rule actions)."""
