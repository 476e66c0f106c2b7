"""What the device asks over HTTPS: its groups, components, credentials and artifacts.

A refusal becomes the nucleus's error codes; what may pass by itself (no route, 5xx, throttling) is
``UnavailableError``, and the nucleus asks again.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import urllib3

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError, UnavailableError
from edgectl_aws_greengrass.emulator.nucleus.settings import NucleusSettings

_TIMEOUT = urllib3.Timeout(connect=10.0, read=60.0)
_CHUNK = 1 << 20
_MARGIN = dt.timedelta(minutes=5)
_PREFIX = "/greengrass/v2"


class Answered(Record, frozen=True, kw_only=True):
    """A component version that the cloud has chosen."""

    arn: str
    name: str
    version: str
    recipe: bytes


class AwsCredentials(Record, frozen=True, kw_only=True):
    """What the role alias gives."""

    access_key: str
    secret_key: str
    token: str
    expiration: str


class Pools(NamedTuple):
    """Connections: with the device's certificate, and without."""

    device: urllib3.PoolManager
    plain: urllib3.PoolManager


def open_pools(settings: NucleusSettings, size: int = 1) -> Pools:
    """Return connections for so many threads at once."""
    ca = str(settings.root_ca)
    options: dict[str, Any] = {"retries": False, "timeout": _TIMEOUT, "maxsize": size}
    device = urllib3.PoolManager(
        ca_certs=ca,
        cert_file=str(settings.certificate),
        key_file=str(settings.private_key),
        **options,
    )
    return Pools(device=device, plain=urllib3.PoolManager(ca_certs=ca, **options))


class CloudApi:
    """The data plane, the credentials endpoint and S3.

    Args:
        s3_endpoint: Where S3 is instead of at AWS's own address, or None.
        pools: Connections that are shared with others, None for its own.
    """

    def __init__(
        self, settings: NucleusSettings, s3_endpoint: str | None, pools: Pools | None = None
    ) -> None:
        self._settings = settings
        self._s3_endpoint = s3_endpoint
        self._data = f"https://{settings.data_host}:{settings.data_port}"
        self._device, self._plain = pools or open_pools(settings)
        self._credentials: AwsCredentials | None = None

    def groups(self) -> tuple[str, ...] | None:
        """Return the thing groups' names; None when the policy does not let the device ask."""
        status, answer = self._ask(
            "GET", f"{_PREFIX}/coreDevices/{self._settings.thing}/thingGroups"
        )
        if status == 403:
            return None
        if status != 200:
            raise DeploymentError(
                f"Error fetching thing group information: {answer}", "CLOUD_API_ERROR"
            )
        return tuple(each["thingGroupName"] for each in answer.get("thingGroups") or ())

    def resolve(self, name: str, requirements: dict[str, str]) -> Answered:
        """Have the cloud choose a version.

        Raises:
            DeploymentError: There is none, or the device may not ask.
            UnavailableError: The cloud cannot be asked now.
        """
        platform = {"name": "linux", "attributes": self._settings.platform}
        request = {
            "componentCandidates": [{"componentName": name, "versionRequirements": requirements}],
            "platform": platform,
        }
        status, answer = self._ask("POST", f"{_PREFIX}/resolveComponentCandidates", request)
        if status == 404:
            wanted = ", ".join(f"{who} requires {what}" for who, what in requirements.items())
            raise DeploymentError(
                "No cloud component version satisfies the requirements. Check whether the version"
                " constraints conflict and that the component exists in your AWS account with a"
                f" version that matches the version constraints. Component {name} version"
                f" constraints: {wanted}.",
                "NO_AVAILABLE_COMPONENT_VERSION",
                "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
            )
        if status == 403:
            raise DeploymentError(
                f"Access denied when calling ResolveComponentCandidates: {answer.get('message')}",
                "CLOUD_API_ERROR",
                "ACCESS_DENIED",
                "RESOLVE_COMPONENT_CANDIDATES_ACCESS_DENIED",
            )
        if status != 200:
            raise DeploymentError(
                f"ResolveComponentCandidates answered {status}: {answer.get('message')}",
                "CLOUD_API_ERROR",
                "BAD_REQUEST",
            )
        found = answer["resolvedComponentVersions"][0]
        return Answered(
            arn=found["arn"],
            name=found["componentName"],
            version=found["componentVersion"],
            recipe=base64.b64decode(found["recipe"]),
        )

    def configuration(self, deployment_id: str) -> bytes:
        """Fetch the whole document of a deployment that the job carries in part."""
        path = f"{_PREFIX}/coreDevices/{self._settings.thing}/deployments/{deployment_id}"
        status, answer = self._ask("GET", path)
        if status == 403:
            raise DeploymentError(
                "getDeploymentConfiguration API returned 403 access denied",
                "CLOUD_API_ERROR",
                "ACCESS_DENIED",
                "GET_DEPLOYMENT_CONFIGURATION_ACCESS_DENIED",
            )
        if status != 200:
            raise DeploymentError(
                "Error while calling getDeploymentConfiguration", "CLOUD_API_ERROR"
            )
        with self._open(self._plain, "GET", answer["preSignedUrl"], {}) as found:
            document = found.read()
        digest = base64.b64encode(hashlib.sha256(document).digest()).decode()
        if digest != answer["integrityCheck"]["digest"]:
            raise UnavailableError("the deployment document came broken")
        return bytes(document)

    def credentials(self, *, fresh: bool = False) -> AwsCredentials:
        """Return the token-exchange role's credentials.

        Raises:
            DeploymentError: The alias, the role or the policy does not allow it.
            UnavailableError: The endpoint cannot be asked now.
        """
        known = self._credentials
        if known is not None and not fresh and not _is_ending(known.expiration):
            return known
        path = f"/role-aliases/{quote(self._settings.role_alias)}/credentials"
        headers = {"x-amzn-iot-thingname": self._settings.thing}
        url = self._settings.credentials_url + path
        with self._open(self._device, "GET", url, headers) as answer:
            body = answer.read()
            status = answer.status
        if status != 200:
            raise DeploymentError(
                f"Failed to get credentials from TES: {status} {body[:200]!r}",
                "ARTIFACT_DOWNLOAD_ERROR",
                "CREDENTIAL_ENDPOINT_AUTH_FAILURE",
            )
        found = json.loads(body)["credentials"]
        self._credentials = AwsCredentials(
            access_key=found["accessKeyId"],
            secret_key=found["secretAccessKey"],
            token=found["sessionToken"],
            expiration=found["expiration"],
        )
        return self._credentials

    def object_size(self, bucket: str, key: str) -> int:
        """Return an object's size in bytes (HEAD, as the nucleus does before each download)."""
        with self._s3("HEAD", bucket, key) as answer:
            return int(answer.headers.get("Content-Length", 0))

    def object_chunks(self, bucket: str, key: str) -> Iterator[bytes]:
        """Yield an object's content."""
        with self._s3("GET", bucket, key) as answer:
            yield from answer.stream(_CHUNK)

    @contextmanager
    def _s3(self, method: str, bucket: str, key: str) -> Iterator[urllib3.BaseHTTPResponse]:
        for fresh in (False, True):
            url, headers = self._signed(method, bucket, key, fresh=fresh)
            with self._open(self._plain, method, url, headers) as answer:
                if answer.status == 200:
                    yield answer
                    return
                status = answer.status
                if status != 403:
                    break
        operation = "HEAD_OBJECT" if method == "HEAD" else "GET_OBJECT"
        raise _s3_error(status, operation, f"s3://{bucket}/{key}")

    def _signed(
        self, method: str, bucket: str, key: str, *, fresh: bool
    ) -> tuple[str, dict[str, str]]:
        # botocore's signer takes half a second to import: only a device that downloads pays.
        from botocore.auth import S3SigV4Auth  # noqa: PLC0415  # see above
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415  # see above
        from botocore.credentials import Credentials  # noqa: PLC0415  # see above

        found = self.credentials(fresh=fresh)
        region = self._settings.region
        path = quote(key, safe="/~")
        if self._s3_endpoint:
            url = f"{self._s3_endpoint.rstrip('/')}/{bucket}/{path}"
        else:
            url = f"https://{bucket}.s3.{region}.amazonaws.com/{path}"
        request = AWSRequest(method=method, url=url)
        signer = S3SigV4Auth(
            Credentials(found.access_key, found.secret_key, found.token), "s3", region
        )
        signer.add_auth(request)
        return url, {name: str(value) for name, value in request.headers.items()}

    def _ask(
        self, method: str, path: str, request: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        body = None if request is None else json.dumps(request).encode()
        headers = {"Content-Type": "application/json"} if body else {}
        with self._open(self._device, method, self._data + path, headers, body) as answer:
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else {}

    @contextmanager
    def _open(
        self,
        pool: urllib3.PoolManager,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None = None,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        host = urlsplit(url).netloc
        try:
            answer = pool.request(
                method, url, headers=headers, body=body, preload_content=False, redirect=False
            )
        except urllib3.exceptions.HTTPError as exc:
            raise UnavailableError(f"'{host}' cannot be reached: {exc}") from exc
        try:
            if answer.status >= 500 or answer.status == 429:
                raise UnavailableError(f"'{host}' answered {answer.status}")
            yield answer
            answer.drain_conn()
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            if isinstance(exc, OSError) and exc.errno is not None:
                raise  # the disk's, not the link's
            raise UnavailableError(f"'{host}' broke off: {exc}") from exc
        finally:
            answer.release_conn()


def _is_ending(expiration: str) -> bool:
    try:
        left = dt.datetime.fromisoformat(expiration) - dt.datetime.now(dt.UTC)
    except (ValueError, TypeError):
        return True
    return left < _MARGIN


def _s3_error(status: int, operation: str, uri: str) -> DeploymentError:
    codes = {
        403: ("S3_ACCESS_DENIED", f"S3_{operation}_ACCESS_DENIED"),
        404: ("S3_RESOURCE_NOT_FOUND", f"S3_{operation}_RESOURCE_NOT_FOUND"),
    }.get(status, ("S3_BAD_REQUEST",))
    words = {403: "Access denied to S3 object", 404: "Object not found in S3"}
    return DeploymentError(
        f"{words.get(status, f'S3 answered {status} for object')} {uri}",
        "ARTIFACT_DOWNLOAD_ERROR",
        "S3_ERROR",
        *codes,
    )
