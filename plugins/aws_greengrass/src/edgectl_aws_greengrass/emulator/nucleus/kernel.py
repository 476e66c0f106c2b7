"""Keeps the device's services: makes them from components, starts, stops and waits for them."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from edgectl_aws_greengrass.emulator.nucleus import tes
from edgectl_aws_greengrass.emulator.nucleus.interpolate import Places, fill
from edgectl_aws_greengrass.emulator.nucleus.plan import Graph, change, ordered
from edgectl_aws_greengrass.emulator.nucleus.processes import Processes
from edgectl_aws_greengrass.emulator.nucleus.recipe import Recipe, parse_recipe
from edgectl_aws_greengrass.emulator.nucleus.service import UP, Service, ServiceState
from edgectl_aws_greengrass.emulator.nucleus.settings import VERSION, NucleusSettings
from edgectl_aws_greengrass.emulator.nucleus.state import Installed
from edgectl_aws_greengrass.emulator.nucleus.steps import Life, Steps
from edgectl_aws_greengrass.emulator.nucleus.store import Store

Components = Mapping[str, Installed]

SOCKET_VARIABLES = (
    "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH",
    "AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT",
)


class Kernel:
    """All services of the device.

    Args:
        settings: The device.
        store: Its packages.
        socket: Where the IPC server listens.
        tell: Called with each service whose state has changed, on its own thread.

    Attributes:
        credentials_uri: Where components that may ask for credentials do.
    """

    def __init__(
        self,
        settings: NucleusSettings,
        store: Store,
        socket: Path,
        tell: Callable[[Service], None],
    ) -> None:
        self.changed = threading.Condition()
        self.services: dict[str, Service] = {}
        self.credentials_uri = ""
        self._settings = settings
        self._store = store
        self._socket = socket
        self._tell = tell
        self._processes = Processes(settings.root / "config" / "processes.json")
        self._graph: Graph = {}
        self._components: Components = {}

    def start(self, components: Components) -> None:
        """Start everything, as after a boot."""
        self._processes.reap()
        self.switch(components)

    def stop(self) -> None:
        """Stop everything, dependents first."""
        for name in reversed(ordered(self.services, self._graph)):
            self.services[name].stop()

    def is_up(self, name: str) -> bool:
        """Say whether a service is RUNNING or FINISHED; one that is not there never is."""
        service = self.services.get(name)
        return service is not None and service.state in UP

    def is_lost(self, name: str) -> bool:
        """Say whether a service is BROKEN."""
        service = self.services.get(name)
        return service is not None and service.state is ServiceState.BROKEN

    def starts(self, name: str) -> int:
        """Return how often a service has begun to start; -1 for one that is not there."""
        service = self.services.get(name)
        return -1 if service is None else service.starts

    def switch(self, components: Components) -> tuple[str, ...]:
        """Stop what has to go and start what has come; return what was started.

        Raises:
            DeploymentError: The components depend on each other in a circle.
        """
        recipes = {name: self.recipe(each) for name, each in components.items()}
        graph: Graph = {
            name: {
                other: dependency.hard
                for other, dependency in recipe.dependencies.items()
                if other in components
            }
            for name, recipe in recipes.items()
        }
        found = change(
            _identities(self._components),
            _identities(components),
            self._graph,
            graph,
            restart=self.broken(),
        )
        for name in found.stop:
            self.services.pop(name).stop()
        self._graph, self._components = graph, components
        made = [self._make(recipes, components, name) for name in found.start]
        with self.changed:
            for service in made:
                self.services[service.name] = service
        for service in made:
            service.start()
        return found.start

    def would_change(self, components: Components) -> bool:
        """Say whether a set would stop or start anything."""
        return _identities(self._components) != _identities(components)

    def differing(self, components: Components) -> tuple[str, ...]:
        """Return which components would be new or changed."""
        old = _identities(self._components)
        return tuple(
            name for name, value in _identities(components).items() if old.get(name) != value
        )

    def wait_for(self, names: Iterable[str], give_up: Callable[[], bool]) -> str:
        """Wait until services are up; return the name of one that is BROKEN, else "".

        Returns "" as well when given up.
        """
        wanted = tuple(names)
        with self.changed:
            while not give_up():
                for name in wanted:
                    if self.services[name].state is ServiceState.BROKEN:
                        return name
                if all(self.services[name].state in UP for name in wanted):
                    return ""
                self.changed.wait(0.2)
        return ""

    def broken(self) -> tuple[str, ...]:
        """Return the services that are BROKEN."""
        return tuple(
            name for name, service in self.services.items() if service.state is ServiceState.BROKEN
        )

    def by_token(self, token: str) -> Service | None:
        """Return the service whose ``SVCUID`` it is."""
        with self.changed:
            for service in self.services.values():
                if secrets.compare_digest(service.token, token):
                    return service
        return None

    def reconfigured(self, components: Components) -> None:
        """Take note that components changed their own configuration, which restarts nobody."""
        self._components = components

    def recipe(self, component: Installed) -> Recipe:
        """Return a component's recipe for this platform."""
        return parse_recipe(component.recipe.encode(), self._settings.platform)

    def bootstrap(self, name: str, components: Components) -> int | None:
        """Run a component's Bootstrap; return its exit code, None when it has none.

        Raises:
            StepError: It took too long.
        """
        recipes = {each: self.recipe(found) for each, found in components.items()}
        life = self._life(recipes, components, name, "")
        steps = Steps(life, self._processes)
        process = steps.spawn("bootstrap")
        if process is None:
            return None
        try:
            steps.exited(process, "bootstrap", lambda: False)
            return int(process.returncode)
        finally:
            self._processes.stop(process)

    def _make(self, recipes: Mapping[str, Recipe], components: Components, name: str) -> Service:
        token = secrets.token_hex(8)
        life = self._life(recipes, components, name, token)
        return Service(life, token, self, self._processes, self._tell)

    def _life(
        self, recipes: Mapping[str, Recipe], components: Components, name: str, token: str
    ) -> Life:
        recipe, component = recipes[name], components[name]
        own = self._places(name, component)
        others = {
            other: self._places(other, components[other])
            for other in recipe.dependencies
            if other in components
        }

        def filled(texts: Mapping[str, str]) -> dict[str, str]:
            return {key: fill(text, own, others) for key, text in texts.items()}

        steps = {
            key: msgspec.structs.replace(
                step, script=fill(step.script, own, others), setenv=filled(step.setenv)
            )
            for key, step in recipe.steps.items()
        }
        return Life(
            name=name,
            steps=steps,
            environment={
                **self._environment(token, with_credentials=tes.COMPONENT in components),
                **filled(recipe.setenv),
            },
            folder=own.work,
            log_file=self._store.log_file(name),
            user=component.posix_user or self._settings.posix_user,
            dependencies={
                other: dependency.hard
                for other, dependency in recipe.dependencies.items()
                if other in components
            },
        )

    def _places(self, name: str, component: Installed) -> Places:
        return Places(
            artifacts=self._store.artifacts(name, component.version),
            unarchived=self._store.unarchived(name, component.version),
            work=self._store.work(name),
            root=self._settings.root,
            thing=self._settings.thing,
            configuration=component.configuration,
        )

    def _environment(self, token: str, *, with_credentials: bool) -> dict[str, str]:
        credentials = {tes.URI_VARIABLE: self.credentials_uri, tes.TOKEN_VARIABLE: token}
        return {
            **os.environ,
            **(credentials if with_credentials else {}),
            **dict.fromkeys(SOCKET_VARIABLES, str(self._socket)),
            "AWS_IOT_THING_NAME": self._settings.thing,
            "AWS_REGION": self._settings.region,
            "AWS_DEFAULT_REGION": self._settings.region,
            "GGC_VERSION": VERSION,
            "SVCUID": token,
        }


def _identities(components: Components) -> dict[str, object]:
    return {
        name: (each.version, each.recipe, msgspec.json.encode(each.configuration), each.posix_user)
        for name, each in components.items()
    }
