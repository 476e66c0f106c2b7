"""Further models beside the deployed one: what a folder holds, loaded and unloaded on request.

Triton's model repository extension. A request names a model that the folder was found to hold; it
never brings a path, a file or a configuration. The model of the active release belongs to the
deployment: it is listed, and neither loaded nor unloaded here. Three layouts are understood:
``NAME.onnx``, ``NAME/1/model.onnx`` (the highest number counts, as in Triton), and a version
folder ``NAME/release.json`` as the agent lays it out, which has to pass its golden check.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from edge_components.contract.device import VERSION_RELEASE
from edge_components.contract.hardware import HardwareProfile
from edge_components.runtime.choosing import load_checked
from edge_components.runtime.http import HttpError
from edge_components.runtime.model import Identity, Model, ModelError, load_model
from edge_components.runtime.registry import Registry
from edge_components.runtime.settings import SettingsError
from edge_components.runtime.version import ActivationError, read_version

log = logging.getLogger(__name__)

ALL = "*"
_SUFFIX = ".onnx"
_FILE = "model.onnx"


class Entry(NamedTuple):
    """A model that the folder holds: an ONNX file, or a version folder."""

    name: str
    path: Path
    version: str = "1"


class IndexEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the index, as the extension writes it."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


def find_entries(folder: Path) -> dict[str, Entry]:
    """List the models of a folder by name.

    Raises:
        OSError: The folder cannot be read.
    """
    found = (_entry(path) for path in sorted(folder.iterdir()) if path.name[0] != ".")
    return {entry.name: entry for entry in found if entry is not None}


def _entry(path: Path) -> Entry | None:
    if path.is_file():
        return Entry(path.stem, path) if path.suffix == _SUFFIX else None
    if (path / VERSION_RELEASE).is_file():
        return Entry(path.name, path)
    numbers = [int(file.parent.name) for file in path.glob(f"*/{_FILE}") if _is_number(file)]
    if not numbers:
        return None
    newest = str(max(numbers))
    return Entry(path.name, path / newest / _FILE, newest)


def _is_number(file: Path) -> bool:
    name = file.parent.name
    return name.isascii() and name.isdigit() and len(name) < 19 and str(int(name)) == name


def load_entry(entry: Entry, profile: HardwareProfile) -> Model:
    """Load and warm a model of the folder under its name there.

    Raises:
        ActivationError: The version folder cannot be used.
        ModelError: The file cannot be loaded.
    """
    if not entry.path.is_dir():
        identity = Identity(name=entry.name, version=entry.version)
        return load_model(entry.path, identity, profile.execution_providers, profile=profile)
    model = load_checked(read_version(entry.path), profile, None)
    model.identity = msgspec.structs.replace(model.identity, name=entry.name)
    return model


class Repository:
    """Loads models from one folder into the registry.

    Args:
        folder: Where the models are, or None where there is nothing to load from.
        loaded: Is told of each model that answers.
    """

    def __init__(
        self,
        folder: Path | None,
        registry: Registry,
        profile: HardwareProfile,
        loaded: Callable[[Model], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self._registry = registry
        self._profile = profile
        self._loaded = loaded
        self._reasons: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def begin(self, names: tuple[str, ...]) -> None:
        """Load what is to answer from the start; ``*`` means every model of the folder.

        A model that cannot be loaded is logged and listed with its reason; the others serve.

        Raises:
            SettingsError: The folder cannot be read, or has no model of a name.
        """
        try:
            entries = self._entries()
            wanted = list(entries if ALL in names else dict.fromkeys(names))
            for name in wanted:
                self._find(name)
        except HttpError as exc:
            raise SettingsError(f"--load: {exc.message}") from exc
        for name in wanted:
            try:
                await self.load(name)
            except HttpError as exc:
                log.warning("%s", exc.message)

    def index(self, *, ready_only: bool) -> list[IndexEntry]:
        """List the models that answer and those that could be loaded, by name."""
        lines = {
            model.identity.name: IndexEntry(model.identity.name, model.identity.version, "READY")
            for model in self._registry.models
        }
        if not ready_only and self.folder is not None:
            for name, entry in self._entries().items():
                reason = self._reasons.get(name, "not loaded")
                unloaded = IndexEntry(name, entry.version, "UNAVAILABLE", reason)
                lines.setdefault(name, unloaded)
        return [lines[name] for name in sorted(lines)]

    async def load(self, name: str) -> None:
        """Load a model, or load it again; a present one answers until the new one is warm.

        Raises:
            HttpError: 404 where there is no such model, 409 for the deployed model, 400 if it
                cannot be loaded.
        """
        async with self._lock:
            self._check_not_deployed(name, "loaded")
            entry = self._find(name)
            try:
                model = await asyncio.to_thread(load_entry, entry, self._profile)
            except (ActivationError, ModelError) as exc:
                self._reasons[name] = str(exc)
                raise HttpError(400, f"model '{name}' cannot be loaded: {exc}") from exc
            self._check_not_deployed(name, "loaded")  # a release may have come meanwhile
            self._reasons.pop(name, None)
            self._registry.add(model)
            self._loaded(model)

    async def unload(self, name: str) -> None:
        """Let a model answer no more; requests that run on it finish.

        Raises:
            HttpError: 404 where there is no such model, 409 for the deployed model.
        """
        async with self._lock:
            self._check_not_deployed(name, "unloaded")
            if self._registry.get(name) is None:
                self._find(name)
            self._registry.remove(name)
            self._reasons[name] = "unloaded"

    def _entries(self) -> dict[str, Entry]:
        if self.folder is None:
            return {}
        try:
            return find_entries(self.folder)
        except OSError as exc:
            message = f"the models' folder cannot be read: {exc.strerror}"
            raise HttpError(500, message) from exc

    def _find(self, name: str) -> Entry:
        entries = self._entries()
        entry = entries.get(name)
        if entry is None:
            raise self._unknown(name, entries)
        return entry

    def _unknown(self, name: str, entries: dict[str, Entry]) -> HttpError:
        if self.folder is None:
            return HttpError(404, "this server has no folder to load models from (--models)")
        known = ", ".join(f"'{known}'" for known in entries) or "none"
        return HttpError(404, f"no model '{name[:200]}' can be loaded; there are: {known}")

    def _check_not_deployed(self, name: str, verb: str) -> None:
        main = self._registry.main
        if main is not None and main.identity.name == name:
            raise HttpError(409, f"model '{name[:200]}' is the deployed one, it cannot be {verb}")
