"""The Azure ML workspace: its client, its errors, and the store of jobs' logs and outputs.

The SDK is imported here; it takes a second, which only training and registering are worth.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from azure.ai.ml import MLClient
from azure.ai.ml.entities import AccountKeyConfiguration, AzureBlobDatastore, SasTokenConfiguration
from azure.ai.ml.exceptions import MlException
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.storage.blob import ContainerClient

from edgectl.api import ProviderError
from edgectl_azure_iot_edge import mlerrors
from edgectl_azure_iot_edge._sdk.login import credential
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.training import ARTIFACT_STORE, check_workspace

METADATA_VARIABLE = "ARM_CLOUD_METADATA_URL"
_RETRIES = 4


class Workspace:
    """One workspace.

    Args:
        config: ``providers.azure``.

    Raises:
        ProjectError: No workspace is set.
    """

    def __init__(self, config: AzureConfig) -> None:
        self.name = check_workspace(config)
        self._credential = credential()
        with self.calling(f"open the workspace '{self.name}'"):
            self.client = MLClient(
                self._credential,
                config.subscription_id,
                config.resource_group,
                self.name,
                show_progress=False,
                enable_telemetry=False,
                retry_total=_RETRIES,
            )

    @contextlib.contextmanager
    def calling(self, what: str) -> Iterator[None]:
        """Turn what the SDK raises into errors that people can act on, and keep it quiet.

        The SDK writes to standard error and logs warnings about itself on the way.

        Args:
            what: What is being done, to stand after "cannot".

        Raises:
            ProviderError: The call failed.
        """
        logger = logging.getLogger("azure.ai.ml")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with contextlib.redirect_stderr(io.StringIO()), translating(what):
                yield
        finally:
            logger.setLevel(level)

    def artifacts(self) -> ArtifactStore:
        """Return the store of jobs' logs and outputs.

        Raises:
            ProviderError: The workspace does not give it.
        """
        with self.calling("read the workspace's artifact store"):
            store = self._datastore()
            if not isinstance(store, AzureBlobDatastore):
                kind = type(store).__name__
                raise ProviderError(f"the workspace's artifact store is a {kind}, not blob storage")
            access = store.credentials
            key: object = self._credential
            if isinstance(access, AccountKeyConfiguration):
                key = access.account_key
            elif isinstance(access, SasTokenConfiguration):
                key = access.sas_token
            container = ContainerClient(
                f"{store.protocol}://{store.account_name}.blob.{store.endpoint}",
                store.container_name,
                credential=key,  # type: ignore[arg-type]  # a text or a token credential
                retry_total=_RETRIES,
            )
        return ArtifactStore(container)

    def _datastore(self) -> object:
        try:
            return self.client.datastores.get(ARTIFACT_STORE, include_secrets=True)
        except HttpResponseError as exc:
            if exc.status_code != 403:
                raise
            # Who may not read the account's key may still have a role on its content.
            return self.client.datastores.get(ARTIFACT_STORE)


class ArtifactStore:
    """Blobs of a workspace's jobs.

    Args:
        container: The container's client.
    """

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    def names(self, prefix: str) -> list[tuple[str, int]]:
        """Return name and size of the blobs that begin so.

        Raises:
            ProviderError: The store refused.
        """
        with translating("list what the training job left"):
            listed = self._container.list_blobs(name_starts_with=prefix)
            return [(blob.name, int(blob.size or 0)) for blob in listed]

    def read(self, name: str, begin: int = 0) -> Iterator[bytes]:
        """Yield a blob's content from a byte on, piece by piece; nothing behind its end.

        Raises:
            ProviderError: The store refused.
        """
        what = f"read '{name}'"
        with translating(what):
            try:
                found = self._container.download_blob(name, offset=begin)
            except ResourceNotFoundError:
                return
            except HttpResponseError as exc:
                if exc.status_code == 416:
                    return
                raise
            yield from found.chunks()


@contextlib.contextmanager
def translating(what: str) -> Iterator[None]:
    """Turn what Azure's SDKs raise into errors that people can act on.

    Raises:
        ProviderError: The call failed.
    """
    try:
        yield
    except ClientAuthenticationError as exc:
        if exc.status_code is None:
            raise mlerrors.no_login(what, exc.message) from exc
        raise _refused(what, exc) from exc
    except HttpResponseError as exc:
        raise _refused(what, exc) from exc
    except AzureError as exc:
        raise mlerrors.no_answer(what, exc.message) from exc
    except MlException as exc:
        raise _of_sdk(what, exc) from exc


def _refused(what: str, exc: HttpResponseError) -> ProviderError:
    code = str(getattr(exc, "error_code", "") or getattr(exc.error, "code", "") or "")
    return mlerrors.from_status(what, exc.status_code or 0, code, exc.message)


def _of_sdk(what: str, exc: MlException) -> ProviderError:
    """Return the error for what azure-ai-ml itself says, or wraps."""
    inner = exc.__cause__ or exc.__context__
    if isinstance(inner, HttpResponseError):
        return _refused(what, inner)
    kind = type(exc).__name__
    if kind == "AssetPathException":
        return mlerrors.from_status(what, 409, kind, str(exc))
    return ProviderError(f"cannot {what}: {mlerrors.plain(str(exc))}", vendor_code=kind)


def is_local() -> bool:
    """Say whether Azure is on this machine, an emulator, which need not be spared questions."""
    host = urlsplit(os.environ.get(METADATA_VARIABLE, "")).hostname or ""
    return host == "localhost" or host.startswith("127.")
