"""The models that answer, by name; a swap is one assignment, so a request sees old or new.

Requests that run on the old model keep it alive until they are done.
"""

from __future__ import annotations

from collections.abc import Callable

from edge_components.runtime.model import Model


class Registry:
    """Named models; the main one belongs to the active release.

    Attributes:
        get: Returns the model that answers to a name, or None.
        is_single: Whether only one model answers.
    """

    get: Callable[[str], Model | None]
    is_single: bool

    def __init__(self) -> None:
        self._main: str | None = None
        self._set({})

    def _set(self, models: dict[str, Model]) -> None:
        self._models = models
        self.get = models.get
        self.is_single = len(models) == 1

    @property
    def main(self) -> Model | None:
        """The model of the active release; the pipeline uses this one."""
        return None if self._main is None else self._models.get(self._main)

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._models)

    @property
    def models(self) -> list[Model]:
        """All models, by name."""
        return [self._models[name] for name in self.names]

    def activate(self, model: Model) -> Model | None:
        """Let ``model`` answer as the main model; return the one that it replaces."""
        old = self.main
        models = {**self._models, model.identity.name: model}
        if old is not None and old.identity.name != model.identity.name:
            del models[old.identity.name]
        self._set(models)
        self._main = model.identity.name
        return old

    def retire(self) -> None:
        """Let the main model answer no more, if there is one."""
        if self._main is not None:
            self.remove(self._main)
        self._main = None

    def add(self, model: Model) -> None:
        """Let ``model`` answer beside the main one, in place of one of its name."""
        self._set({**self._models, model.identity.name: model})

    def remove(self, name: str) -> None:
        """Let the model of that name answer no more, if there is one."""
        self._set({known: model for known, model in self._models.items() if known != name})
