"""What happens to an update, and what it asks for next.

An event is the result of the last command, or a word from outside. A command is one step for
whoever has hands; every command may be carried out again after a power cut.
"""

from __future__ import annotations

import msgspec

from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason
from edge_components.update.record import Installed


class _Word(msgspec.Struct, frozen=True, kw_only=True):
    pass


class ReleaseVerified(_Word, frozen=True, kw_only=True):
    """A trusted publisher's signature fits this release."""

    release: ReleaseDocument


class PackageVerified(_Word, frozen=True, kw_only=True):
    """The package is signed, and of these precisions this hardware can use each."""

    application: str
    precisions: tuple[str, ...]


class Fetched(_Word, frozen=True, kw_only=True):
    """Every file of the variant lies in the store, by its digest.

    Attributes:
        detail: What was fetched, for an operator.
    """

    detail: str = ""


class Staged(_Word, frozen=True, kw_only=True):
    """The version folder is whole."""


class Checked(_Word, frozen=True, kw_only=True):
    """The golden check holds on this machine, with this execution provider.

    Attributes:
        precision: The variant that was found the fastest, where several were compared.
    """

    provider: str = ""
    precision: str = ""


class Activated(_Word, frozen=True, kw_only=True):
    """The runtime answers with the new version."""

    provider: str = ""


class Soaked(_Word, frozen=True, kw_only=True):
    """The new version served for its soak without a fault."""


class Restored(_Word, frozen=True, kw_only=True):
    """The runtime was sent back to the version before, or stopped where there is none."""


class Failed(_Word, frozen=True, kw_only=True):
    """The last command did not succeed.

    Attributes:
        claimed: What a refused release says of itself; only for the report.
    """

    reason: Reason
    detail: str = ""
    claimed: ReleaseDocument | None = None


class Canceled(_Word, frozen=True, kw_only=True):
    """Whoever ordered the update takes the order back."""

    detail: str = ""


Event = (
    ReleaseVerified
    | PackageVerified
    | Fetched
    | Staged
    | Checked
    | Activated
    | Soaked
    | Restored
    | Failed
    | Canceled
)


class ObtainRelease(_Word, frozen=True, kw_only=True):
    """Fetch the release's envelope and verify who signed it."""


class ObtainPackage(_Word, frozen=True, kw_only=True):
    """Fetch manifest and signature, verify both, and see which variants fit."""

    release: ReleaseDocument


class FetchLayers(_Word, frozen=True, kw_only=True):
    """Bring every file that the variant needs into the store."""

    release: ReleaseDocument
    precision: str


class Stage(_Word, frozen=True, kw_only=True):
    """Build the version folder, whole or not at all."""

    release: ReleaseDocument
    precision: str


class Check(_Word, frozen=True, kw_only=True):
    """Run the golden set in a child process."""

    release: ReleaseDocument
    precision: str


class Activate(_Word, frozen=True, kw_only=True):
    """Have the runtime answer with this version."""

    version: Installed


class Soak(_Word, frozen=True, kw_only=True):
    """Watch the runtime serve this version for a while."""

    version: Installed
    seconds: float


class Restore(_Word, frozen=True, kw_only=True):
    """Send the runtime back to this version; None means that nothing is to serve."""

    version: Installed | None


Command = ObtainRelease | ObtainPackage | FetchLayers | Stage | Check | Activate | Soak | Restore
