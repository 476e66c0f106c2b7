"""Every call to AWS goes through here: paced, retried by the SDK, and translated when refused.

Nobody else in the plugin sees a boto3 exception. A call names what it is for, so that an error
is a sentence; answers are plain dictionaries, as botocore's models describe them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)
from botocore.session import Session, get_session

from edgectl.api import LimitError, NotFoundError, ProviderError
from edgectl_aws_greengrass._sdk.pace import Pace
from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.errors import (
    Refusal,
    from_refusal,
    no_credentials,
    no_region,
    not_reached,
)

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 8
TIMEOUT_S = 20.0
ATTEMPTS = 6
"""How often a call is tried where the user did not say it to the SDK (AWS_MAX_ATTEMPTS)."""
MAX_PAGES = 1000
# The IAM prefix of a service where it is not the client's name.
_PREFIXES = {"greengrassv2": "greengrass", "iot-data": "iot"}
_ACTIONS = {
    "s3:HeadObject": "s3:GetObject",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:CreateMultipartUpload": "s3:PutObject",
}
_CREDENTIALS = (
    "ProfileNotFound",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
)

Answer = dict[str, Any]


class Identity:
    """Who calls: the account, the Region's partition and the caller's ARN."""

    def __init__(self, arn: str, account: str) -> None:
        self.arn = arn
        self.account = account
        self.partition = arn.split(":")[1] if arn.count(":") >= 5 else "aws"


class Account:
    """One AWS account and Region.

    Args:
        config: Where, and under which names.
        pace: Shared by everything in this process that calls the same account.
    """

    def __init__(self, config: AwsConfig, pace: Pace) -> None:
        self.config = config
        self._pace = pace
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._clients: dict[str, Any] = {}
        self._identity: Identity | None = None
        self._known: dict[str, Any] = {}

    @property
    def region(self) -> str:
        """The Region that calls go to.

        Raises:
            ProviderError: None is set.
        """
        if self.config.region:
            return self.config.region

        def read() -> Any:
            return self._open_session().get_config_variable("region")

        region = self.translating("sts", "GetCallerIdentity", "find the Region", read)
        if not region:
            raise no_region("call AWS")
        return str(region)

    def identity(self) -> Identity:
        """Return who calls; asked once.

        Raises:
            AuthError: There are no credentials, or they are refused.
        """
        with self._lock:
            if self._identity is None:
                found = self.call("sts", "GetCallerIdentity", "ask who calls")
                self._identity = Identity(str(found["Arn"]), str(found["Account"]))
            return self._identity

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this account and Region."""
        who = self.identity()
        return f"arn:{who.partition}:{service}:{self.region}:{who.account}:{resource}"

    def remember(self, key: str, make: Callable[[], T]) -> T:
        """Return what never changes, asked for once."""
        with self._lock:
            if key in self._known:
                found: T = self._known[key]
                return found
        value = make()
        with self._lock:
            self._known[key] = value
        return value

    def call(self, service: str, operation: str, what: str, **params: Any) -> Answer:
        """Call an operation and return its answer.

        Args:
            service: The client's name, such as ``greengrassv2``.
            operation: The operation as the API spells it, such as ``CreateDeployment``.
            what: What it is for, to stand after "cannot".
            params: As the API spells them; None leaves one out.

        Raises:
            ProviderError: AWS refused or could not be reached.
        """
        given = {name: value for name, value in params.items() if value is not None}

        def send() -> Answer:
            client = self.client(service)
            self._pace.wait(service, operation)
            answer: Answer = getattr(client, xform_name(operation))(**given)
            return answer

        return self.translating(service, operation, what, send)

    def pages(
        self, service: str, operation: str, what: str, key: str, **params: Any
    ) -> Iterator[Any]:
        """Yield the items of a listing, page by page.

        Args:
            service: As for ``call``.
            operation: As for ``call``.
            what: As for ``call``.
            key: Where the answer has the items.
            params: As for ``call``.
        """
        token: str | None = None
        for _ in range(MAX_PAGES):
            answer = self.call(service, operation, what, **params, nextToken=token)
            yield from answer.get(key, ())
            token = answer.get("nextToken")
            if not token:
                return
        raise ProviderError(f"cannot {what}: AWS has more than {MAX_PAGES} pages")

    def find(self, service: str, operation: str, what: str, **params: Any) -> Answer | None:
        """Call an operation that may find nothing; None then."""
        try:
            return self.call(service, operation, what, **params)
        except NotFoundError as exc:
            if exc.vendor_code in {"NoSuchBucket", "PermanentRedirect"}:
                raise
            return None

    def at_once(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do the same for many things side by side, within the pace; results in order."""
        todo = list(items)
        if len(todo) < 2:
            return [work(item) for item in todo]
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            futures = [pool.submit(work, item) for item in todo]
            try:
                return [future.result() for future in futures]
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def client(self, service: str) -> Any:
        """Return the SDK's client of a service, made once."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service)
            return self._clients[service]

    def translating(self, service: str, operation: str, what: str, send: Callable[[], R]) -> R:
        """Run what calls AWS, and turn what it raises into our errors.

        Raises:
            ProviderError: In our words, with AWS's code.
        """
        try:
            return send()
        except ClientError as exc:
            raise from_refusal(what, _refusal(service, operation, exc)) from exc
        except NoCredentialsError as exc:
            raise no_credentials(what, str(exc)) from exc
        except NoRegionError as exc:
            raise no_region(what) from exc
        except ParamValidationError as exc:
            raise LimitError(f"cannot {what}: {exc}", vendor_code="ParamValidation") from exc
        except (BotoConnectionError, HTTPClientError) as exc:
            said = _short(exc)
            raise not_reached(what, self.endpoint(service), said, type(exc).__name__) from exc
        except BotoCoreError as exc:
            if type(exc).__name__ in _CREDENTIALS:
                raise no_credentials(what, str(exc)) from exc
            code = type(exc).__name__
            raise ProviderError(f"cannot {what}: {_short(exc)}", vendor_code=code) from exc

    def endpoint(self, service: str) -> str:
        """Return the address that a service is called at, for messages."""
        with self._lock:
            client = self._clients.get(service)
        return str(client.meta.endpoint_url) if client is not None else service

    @property
    def overridden(self) -> str | None:
        """The address that stands for all of AWS, an emulator's; or None."""
        return self.config.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None

    def _make(self, service: str) -> Any:
        endpoint = self.config.endpoint_url
        if service == "iot-data" and not self.overridden:
            endpoint = f"https://{self.data_endpoint()}"
        options = Config(
            retries={"mode": "standard", "total_max_attempts": self._attempts()},
            connect_timeout=TIMEOUT_S,
            read_timeout=3 * TIMEOUT_S,
            max_pool_connections=AT_ONCE + 2,
            user_agent_extra="edgectl",
            s3={"addressing_style": "path"} if self.overridden else None,
        )
        return self._open_session().create_client(
            service, region_name=self.config.region, endpoint_url=endpoint, config=options
        )

    def _attempts(self) -> int:
        """Return how often a call is tried: as the SDK was told, or patiently."""
        try:
            told = self._open_session().get_config_variable("max_attempts")
        except ValueError as exc:
            raise ProviderError(
                f"the AWS setting 'max_attempts' is not a whole number: {exc}",
                hint="correct AWS_MAX_ATTEMPTS, or `max_attempts` of the AWS profile",
                vendor_code="InvalidConfig",
            ) from exc
        return ATTEMPTS if told is None else int(told)

    def data_endpoint(self) -> str:
        """Return the account's IoT data endpoint, which shadows are read at."""
        return self._iot_endpoint("iot:Data-ATS")

    def credential_endpoint(self) -> str:
        """Return the account's IoT credentials endpoint, which devices get their role at."""
        return self._iot_endpoint("iot:CredentialProvider")

    def _iot_endpoint(self, kind: str) -> str:
        def ask() -> str:
            found = self.call("iot", "DescribeEndpoint", f"find {kind}", endpointType=kind)
            return str(found["endpointAddress"])

        return self.remember(f"endpoint {kind}", ask)

    def _open_session(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = get_session()
            return self._session


_ACCOUNTS: dict[tuple[bytes, tuple[tuple[str, str], ...]], Account] = {}
_OPENING = threading.Lock()


def shared_account(config: AwsConfig, pace: Pace) -> Account:
    """Return the account of these settings; its clients, which are dear, are made once a process.

    The variables that the SDK reads are settings too.
    """
    variables = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    key = msgspec.msgpack.encode(config), variables
    with _OPENING:
        if key not in _ACCOUNTS:
            _ACCOUNTS[key] = Account(config, pace)
        return _ACCOUNTS[key]


def _refusal(service: str, operation: str, exc: ClientError) -> Refusal:
    error = exc.response.get("Error", {})
    status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    return Refusal(
        code=str(error.get("Code") or status),
        message=str(error.get("Message") or ""),
        status=int(status),
        action=_ACTIONS.get(action, action),
        bucket=str(error.get("BucketName") or ""),
    )


def _short(exc: Exception) -> str:
    """Return what happened, without the address, which stands before it already."""
    cause = getattr(exc, "kwargs", {}).get("error")
    return str(cause if cause is not None else exc)
