"""A session: one project, its folders, its opened providers and its journal.

Everything that a command does passes through here, so that each provider is opened once, with
the journal around it, and paths below ``.edgectl`` are said in one place.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgectl.errors import ProjectError
from edgectl.journal import Entry, Journal
from edgectl.plugins import open_provider
from edgectl.project.load import Project
from edgectl.provider import Provider, ProviderContext
from edgectl.wrappers import JournalWrapper

if TYPE_CHECKING:
    from edgectl.dryrun import DryRun
    from edgectl.package.keys import SigningKey


class Session:
    """One project at work.

    Args:
        project: The project that was read.
        progress: Takes one line for people.
        dry: Takes what would be done; None does it.
        aside: Takes journal, leases and what providers keep, in place of the project's folder: a
            rehearsal is nothing that happened to the fleet.
    """

    def __init__(
        self,
        project: Project,
        progress: Callable[[str], None],
        dry: DryRun | None = None,
        *,
        aside: Path | None = None,
    ) -> None:
        self.project = project
        self.progress = progress
        self.dry = dry
        self._state_dir = aside or project.state_dir
        self.journal = Journal(self._state_dir / "journal.jsonl")
        self._providers: dict[str, Provider] = {}

    @property
    def layout(self) -> Path:
        """The local OCI layout that holds packages."""
        return self.project.state_dir / "store"

    @property
    def build_dir(self) -> Path:
        """Where one step leaves its result for the next."""
        folder = self.project.state_dir / "build"
        return folder if self.dry is None else self.dry.stand_in(folder)

    @property
    def lease_dir(self) -> Path | None:
        """Where it is remembered since when other operators' leases look as they do."""
        return None if self.dry is not None else self._state_dir / "leases"

    def provider(self, name: str) -> Provider:
        """Return the provider called ``name``, opened on first use."""
        if name not in self._providers:
            self._providers[name] = self.open(name)
        return self._providers[name]

    def open(self, name: str) -> Provider:
        """Open a provider anew, for a thread of its own.

        Raises:
            EdgectlError: It is not installed, or its settings are wrong.
        """
        return open_provider(
            name,
            self.project.provider_config(name),
            ProviderContext(
                project_dir=self.project.dir,
                state_dir=self._state_dir,
                progress=self.progress,
            ),
            wrappers=(JournalWrapper(lambda *facts: self.record(name, *facts)),),
            locate=self.project.locate,
            facade=Provider if self.dry is None else self.dry.provider,
        )

    def build_provider(self, name: str | None) -> str:
        """Return the provider for training and registering.

        It is the one that was asked for, else ``train.provider`` of the project file, else the
        only one that the targets name, else ``selfhosted``.
        """
        if name is not None:
            return name
        train = self.project.spec.train
        if train is not None and train.provider is not None:
            return train.provider
        used = {target.provider for target in self.project.spec.targets.values()}
        return used.pop() if len(used) == 1 else "selfhosted"

    def key_path(self) -> Path:
        """Return where the publisher's private key lies; EDGECTL_SIGNING_KEY comes first."""
        given = os.environ.get("EDGECTL_SIGNING_KEY")
        if given:
            return Path(given)
        return self.project.file("signing.key", self.project.spec.signing.key)

    def key(self, *, make: bool = True) -> SigningKey:
        """Return the publisher's key.

        Args:
            make: Make one where there is none yet. Devices trust the key that they were enrolled
                with, so what is signed for them never gets a new one on the way.

        Raises:
            EdgectlError: EDGECTL_SIGNING_KEY names no usable key, or there is none.
        """
        from edgectl.package.keys import ensure_key, load_key, public_path  # noqa: PLC0415 - cryptography is heavy

        path = self.key_path()
        if os.environ.get("EDGECTL_SIGNING_KEY"):
            if not path.is_file():
                raise ProjectError(
                    f"EDGECTL_SIGNING_KEY names '{path}', which is no file",
                    hint="let it name the publisher's private key (PEM), or unset it",
                )
            return load_key(path)
        if not path.exists():
            if not make or public_path(path).exists():
                raise ProjectError(
                    f"the publisher's key '{path}' is missing",
                    hint="bring it back from its safe copy, or name it in EDGECTL_SIGNING_KEY: "
                    "devices refuse what another key signed",
                )
            if self.dry is not None:
                self.dry.note("write", path, facts={"for": "the publisher's key"})
                return ensure_key(self.dry.scratch / path.name)
            self.progress(f"making the publisher's key {path.name} (keep it safe)")
        return ensure_key(path) if self.dry is None else load_key(path)

    def record(self, provider: str, action: str, result: str, facts: dict[str, str | int]) -> None:
        """Write a line of the audit journal."""
        if self.dry is not None:
            self.dry.note("journal", action, provider, facts)
            return
        known = set(Entry.__struct_encode_fields__)
        detail = {key: str(value) for key, value in facts.items() if key not in known}
        about = {key: value for key, value in facts.items() if key in known}
        name = self.project.spec.name
        entry = {"action": action, "result": result, "provider": provider, "application": name}
        self.journal.append(msgspec.convert({**about, **entry, "detail": detail}, Entry))


def operator() -> str:
    """Return who works here, as ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:100]


def require(path: Path, *, what: str, command: str) -> Path:
    """Return ``path`` if an earlier step left it.

    Raises:
        ProjectError: The step was not run yet; the hint names its command.
    """
    if not path.exists():
        raise ProjectError(f"there is no {what} yet", hint=f"run `edgectl {command}` first")
    return path
