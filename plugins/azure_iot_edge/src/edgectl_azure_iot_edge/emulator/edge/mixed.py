"""Runs each module by what its image brings: as a container, or as a process of this machine.

An image that has its own entry point can be a container anywhere. The base image that an emulator
has names ``edge-module`` and brings nothing, so no container engine could run it.
"""

from __future__ import annotations

from edgectl_azure_iot_edge.emulator.edge import lending
from edgectl_azure_iot_edge.emulator.edge.containers import (
    STOP_GRACE_S,
    Container,
    Engine,
    EngineError,
    Making,
    Premises,
)
from edgectl_azure_iot_edge.emulator.edge.processes import ProcessEngine
from edgectl_azure_iot_edge.emulator.edge.pulling import PullError


class MixedEngine:
    """Two engines behind one.

    Args:
        whole: Runs images that bring their entry point.
        premises: Where both work.
    """

    def __init__(self, whole: Engine, premises: Premises) -> None:
        self._images = premises.images
        self._whole = whole
        # A folder of its own: each engine takes what it finds in its folder for its own.
        self._lent = ProcessEngine(
            Premises(
                folder=premises.folder / "lent",
                root=premises.root,
                images=premises.images,
                faults=premises.faults,
                changed=premises.changed,
                address=premises.address,
            )
        )

    def describe(self) -> str:
        """Return how modules run here."""
        return f"{self._whole.describe()}, and {self._lent.describe()} where an image is not whole"

    def containers(self) -> dict[str, Container]:
        """Return every container."""
        return {**self._whole.containers(), **self._lent.containers()}

    def create(self, making: Making) -> None:
        """Make a container where it can run.

        Raises:
            EngineError: It cannot be made.
        """
        try:
            tree = self._images.unpack(making.image)
        except PullError as exc:
            raise EngineError(str(exc)) from exc
        command = making.command
        is_whole = bool(command) and lending.brings(tree, command[0], making.environment)
        (self._whole if is_whole else self._lent).create(making)

    def start(self, name: str) -> None:
        """Start a container.

        Raises:
            EngineError: It cannot be started.
        """
        self._of(name).start(name)

    def stop(self, name: str, grace_s: float = STOP_GRACE_S) -> None:
        """End a container."""
        self._of(name).stop(name, grace_s)

    def remove(self, name: str) -> None:
        """Remove a container."""
        self._of(name).remove(name)

    def log(self, name: str) -> bytes:
        """Return what a container printed."""
        return self._of(name).log(name)

    def close(self) -> None:
        """Let go of what is watched."""
        self._whole.close()
        self._lent.close()

    def _of(self, name: str) -> Engine:
        return self._lent if name in self._lent.containers() else self._whole
