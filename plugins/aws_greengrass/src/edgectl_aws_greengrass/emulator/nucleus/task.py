"""Takes one deployment to its end: resolve, download, bootstrap, switch, verify, roll back.

Until the switch nothing changes on the device, and the cloud may take the deployment back. The
switch is one durable step; what was before it is kept until the result is known, so a device that
dies in between rolls back or goes on when it is started again and the job comes once more.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from edgectl_aws_greengrass.emulator.nucleus import failures, resolution
from edgectl_aws_greengrass.emulator.nucleus.cloud import CloudApi
from edgectl_aws_greengrass.emulator.nucleus.document import Deployment
from edgectl_aws_greengrass.emulator.nucleus.failures import (
    CancelledError,
    DeploymentError,
    UnavailableError,
)
from edgectl_aws_greengrass.emulator.nucleus.kernel import Kernel
from edgectl_aws_greengrass.emulator.nucleus.recipe import Recipe, parse_recipe
from edgectl_aws_greengrass.emulator.nucleus.settings import NucleusSettings
from edgectl_aws_greengrass.emulator.nucleus.state import Installed, RootComponent, StateFile
from edgectl_aws_greengrass.emulator.nucleus.steps import StepError
from edgectl_aws_greengrass.emulator.nucleus.store import Store

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
_LOOK_S = 0.1
_RESTART = 100
_REBOOT = 101


class Task:
    """What deployments need.

    Args:
        ask: Asks components before they are stopped; returns when they may be.
        stopping: Set when the nucleus is to end.
    """

    def __init__(
        self,
        *,
        settings: NucleusSettings,
        state: StateFile,
        store: Store,
        kernel: Kernel,
        api: CloudApi,
        ask: Callable[[Deployment], None],
        stopping: threading.Event,
    ) -> None:
        self.cancelled = threading.Event()
        self._settings = settings
        self._state = state
        self._store = store
        self._kernel = kernel
        self._api = api
        self._ask = ask
        self._stopping = stopping
        self._others: resolution.Groups = {}

    def run(self, deployment: Deployment) -> DeploymentError | None:
        """Deploy; return what went wrong, None when all components came up.

        Raises:
            CancelledError: The cloud took it back, or the nucleus ends; nothing was changed.
        """
        try:
            chosen = self._resolve(deployment)
            self._download(chosen)
            new = resolution.installed(deployment, self._others, chosen, self._before())
            if deployment.notify and self._kernel.would_change(new):
                self._ask(deployment)
            self._give_up_if_cancelled()
            self._bootstrap(deployment, new)
            failure = self._switch(deployment, new)
        except DeploymentError as exc:
            failure = exc
            if self._state.state.applied:  # only after a death in the middle of the switch
                failure = self._back(deployment, exc)
        self._conclude(deployment, failure)
        return failure

    def _before(self) -> Mapping[str, Installed]:
        state = self._state.state
        if state.applied and state.before is not None:
            return state.before
        return state.components

    def _resolve(self, deployment: Deployment) -> dict[str, resolution.Chosen]:
        membership = self._patiently(self._api.groups)
        others = resolution.other_groups(self._state.state.groups, deployment, membership)
        self._others = others
        return self._patiently(
            lambda: resolution.resolve(deployment, others, self._api.resolve, self._read)
        )

    def _read(self, raw: bytes) -> Recipe:
        return parse_recipe(raw, self._settings.platform)

    def _download(self, chosen: Mapping[str, resolution.Chosen]) -> None:
        for choice in chosen.values():

            def fetch(choice: resolution.Chosen = choice) -> None:
                self._store.fetch(choice.recipe, choice.raw, self._api, self._give_up_if_cancelled)

            self._patiently(fetch)

    def _patiently(self, work: Callable[[], _Result]) -> _Result:
        """Try until it works; only the cloud or the end of the nucleus ends that."""
        wait_s = _FIRST_WAIT_S
        while True:
            self._give_up_if_cancelled()
            try:
                return work()
            except UnavailableError as exc:
                log.warning("%s; it is tried again in %g s", exc, wait_s)
            until = time.monotonic() + wait_s
            while time.monotonic() < until and not self.cancelled.is_set():
                if self._stopping.wait(_LOOK_S):
                    break
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _give_up_if_cancelled(self) -> None:
        if self.cancelled.is_set() or self._stopping.is_set():
            raise CancelledError

    def _bootstrap(self, deployment: Deployment, new: Mapping[str, Installed]) -> None:
        state = self._state.state
        for name in self._kernel.differing(new):
            old = state.components.get(name)
            if name in state.bootstrapped or (old and old.version == new[name].version):
                continue
            try:
                code = self._kernel.bootstrap(name, new)
            except StepError as exc:
                raise DeploymentError(
                    str(exc), "COMPONENT_UPDATE_ERROR", "COMPONENT_BOOTSTRAP_TIMEOUT"
                ) from exc
            if code is None:
                continue
            state = self._state.change(bootstrapped=(*state.bootstrapped, name))
            if code in {_RESTART, _REBOOT}:
                log.info("%s asks for a restart, deployment %s", name, deployment.deployment_id)
                self._kernel.stop()
                os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # the same program once more
            if code:
                raise DeploymentError(
                    f"The bootstrap script of {name} exited with code {code}.",
                    "COMPONENT_UPDATE_ERROR",
                    "COMPONENT_BOOTSTRAP_ERROR",
                )

    def _switch(self, deployment: Deployment, new: dict[str, Installed]) -> DeploymentError | None:
        state = self._state.state
        before = dict(self._before())
        already = set(self._kernel.broken())
        tracked = set(self._kernel.differing(new)) | already & set(new)
        self._state.change(
            components=new, before=before, applied=deployment.deployment_id, bootstrapped=()
        )
        tracked |= set(self._kernel.switch(new))
        if state.applied == deployment.deployment_id:  # a death in between: look at everything
            tracked = set(new)
        broken = self._kernel.wait_for(tracked, self._stopping.is_set)
        if self._stopping.is_set():
            raise CancelledError
        return self._back(deployment, failures.broken(broken)) if broken else None

    def _back(self, deployment: Deployment, failure: DeploymentError) -> DeploymentError:
        before = self._state.state.before
        if not deployment.rollback or before is None:
            return failure.with_status(failures.ROLLBACK_NOT_REQUESTED)
        log.warning("rolling back: %s", failure)
        self._state.change(components=before)
        started = self._kernel.switch(before)
        broken = self._kernel.wait_for(started, self._stopping.is_set)
        if self._stopping.is_set():
            raise CancelledError
        return failure.with_status(
            failures.UNABLE_TO_ROLLBACK if broken else failures.ROLLBACK_COMPLETE
        )

    def _conclude(self, deployment: Deployment, failure: DeploymentError | None) -> None:
        groups = dict(self._state.state.groups)
        if failure is None or failure.detailed == failures.ROLLBACK_NOT_REQUESTED:
            groups = {name: dict(components) for name, components in self._others.items()}
            groups[deployment.group] = {
                name: RootComponent(version=change.version, arn=deployment.configuration_arn)
                for name, change in deployment.components.items()
            }
        state = self._state.change(groups=groups, applied="", before=None, bootstrapped=())
        if failure is None:
            self._store.clean((name, each.version) for name, each in state.components.items())
