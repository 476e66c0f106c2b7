"""Pulls images in the background, as the real daemon does: whoever waits gives up before it does.

The agent waits about a minute for an image and reports "The operation was canceled"; the pull goes
on, and the next try finds the image there (doc/reported_states_during_deployment.md).
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from edgectl_azure_iot_edge.emulator.edge.images import Image, Images
from edgectl_azure_iot_edge.emulator.edge.pulling import PullError
from edgectl_azure_iot_edge.emulator.edge.records import Credential, ModuleSpec

CANCELED = "The operation was canceled."
WAIT_S = 60.0


class PullsError(Exception):
    """An image is not there, or not yet; in the agent's words."""


class Pulls:
    """The pulls of one device.

    Args:
        wait_s: How long is waited for one.
    """

    def __init__(self, images: Images, wait_s: float = WAIT_S) -> None:
        self._images = images
        self._wait_s = wait_s
        self._stopping = threading.Event()
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="pull")
        self._running: dict[str, Future[Image]] = {}

    def get(self, spec: ModuleSpec, credentials: tuple[Credential, ...]) -> Image:
        """Return a module's image, pulled when its policy says so.

        Raises:
            PullsError: It cannot be had, or it takes too long.
        """
        name = spec.image
        if spec.pull_policy == "never":
            image = self._images.get(name)
            if image is None:
                raise PullsError(f"Could not create module {spec.name}: No such image: {name}")
            return image
        pull = self._running.get(name)
        if pull is None:
            pull = self._workers.submit(self._images.pull, name, credentials, self._stopping)
            self._running[name] = pull
        try:
            found = pull.result(self._wait_s)
        except FutureTimeout as exc:
            raise PullsError(CANCELED) from exc
        except PullError as exc:
            del self._running[name]
            raise PullsError(f"Could not pull image {name}: {exc}") from exc
        del self._running[name]
        return found

    def present(self, spec: ModuleSpec) -> Image:
        """Return a module's image, which was got before.

        Raises:
            PullsError: It is not there.
        """
        image = self._images.get(spec.image)
        if image is None:
            raise PullsError(f"No such image: {spec.image}")
        return image

    def stop(self) -> None:
        """Give up what is being pulled."""
        self._stopping.set()
        self._workers.shutdown(wait=False, cancel_futures=True)
