"""The container registry of the account: open to all, with edgectl's base image in it.

On this machine's own names it speaks plain HTTP, as container tools expect of a registry there;
under any other name TLS, with the account's certificate.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from edgectl.api import ProviderError
from edgectl.emulation.registry import RegistryServer
from edgectl_azure_iot_edge.emulator.edge.references import is_loopback
from edgectl_azure_iot_edge.emulator.images import ImageContent, Pusher, runtime_image
from edgectl_azure_iot_edge.emulator.rooms import Controls
from edgectl_azure_iot_edge.emulator.site import Site

VARIABLE = "EDGECTL_AZURE_REGISTRY"
DEFAULT_PREFIX = "edgectl"
RUNTIME = "edge-runtime"


class RegistryRoom:
    """A registry on a port of its own.

    Args:
        site: The account.
        port: 0 takes a free one.
        prefix: What repositories begin with, as in ``providers.azure.prefix``.
    """

    name = "registry"

    def __init__(self, site: Site, *, port: int = 0, prefix: str = DEFAULT_PREFIX) -> None:
        self._site = site
        self._prefix = prefix
        tls = None
        if not is_loopback(site.host_name):
            tls = site.authority.server_context(site.names, demand=False)
        self.server = RegistryServer(
            site.folder / "registry",
            host=site.host,
            port=site.port("registry", port),
            tls=tls,
            name=site.host_name,
        )
        self._started = False

    @property
    def host(self) -> str:
        """``host:port``, as images' names begin."""
        return self.server.host

    def start(self) -> None:
        """Serve, and put the base image there.

        Raises:
            ProviderError: The image cannot be put there.
        """
        self.server.start()
        self._site.keep_port("registry", self.server.port)
        self._started = True
        version = importlib.metadata.version("edgectl-edge-components").replace("+", "-")
        self.push(f"{self._prefix}/{RUNTIME}", version, runtime_image())

    def stop(self) -> None:
        """End."""
        if self._started:
            self.server.stop()
        else:
            self.server.server_close()

    def settings(self) -> Mapping[str, str]:
        """Return where it is, for ``registry: ${EDGECTL_AZURE_REGISTRY}`` in a project."""
        return {VARIABLE: self.host}

    def controls(self) -> Controls:
        """Return none: the registry has its own below ``/_edgectl``."""
        return {}

    def push(self, repository: str, tag: str, content: ImageContent) -> str:
        """Put an image there; return its name.

        Raises:
            ProviderError: It cannot be put there.
        """
        trust = self._site.authority.ca_file
        try:
            Pusher(self.server.url, repository, trust=trust).push(content, tag)
        except OSError as exc:
            raise ProviderError(f"the emulated registry takes no '{repository}': {exc}") from exc
        return f"{self.host}/{repository}:{tag}"
