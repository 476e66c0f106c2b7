"""The errors that people see: what failed, why, and what to do.

Every known error is an ``EdgectlError`` with a stable code; anything else that comes up is a bug
and keeps its traceback. Plugins translate their vendor's errors into these at their boundary.
"""

from __future__ import annotations


class EdgectlError(Exception):
    """A known error.

    Attributes:
        code: Stable word for programs.
        hint: What to do about it, or "".
        exit_code: What the command line exits with.
        vendor_code: The provider's own code, where it gave one, or "".
    """

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", vendor_code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.vendor_code = vendor_code


class ProjectError(EdgectlError):
    """The project file is wrong; the message names file, line and key."""

    code = "project"


class TrainError(EdgectlError):
    """Training failed, or left no usable model."""

    code = "train"


class ModelError(EdgectlError):
    """A model, golden set or variant does not keep the rules."""

    code = "model"


class GateError(ModelError):
    """A model missed a gate; the message has the measured number."""

    code = "gate"


class PackageError(EdgectlError):
    """A package cannot be built, or one from outside breaks a rule."""

    code = "package"


class SignatureError(PackageError):
    """A signature is missing, does not verify, or its key is not trusted."""

    code = "signature"


class RegistryError(EdgectlError):
    """An OCI registry refused or could not be reached."""

    code = "registry"


class JournalError(EdgectlError):
    """The audit journal cannot be written, or its chain is broken."""

    code = "journal"


class PlanError(EdgectlError):
    """What was asked for cannot be done; found before anything changed."""

    code = "plan"


class LeaseError(EdgectlError):
    """Somebody else works on the same target."""

    code = "lease"


class ProviderError(EdgectlError):
    """A provider could not do what it was asked."""

    code = "provider"


class UnknownProviderError(ProviderError):
    """No provider of that name is known, or it is not installed."""

    code = "unknown-provider"


class UnsupportedError(ProviderError):
    """The provider does not implement a hook or an option."""

    code = "unsupported"


class AuthError(ProviderError):
    """The provider refused the credentials, or there are none."""

    code = "auth"


class UnreachableError(ProviderError):
    """The provider's endpoint did not answer."""

    code = "unreachable"


class NotFoundError(ProviderError):
    """What was named does not exist at the provider."""

    code = "not-found"


class ConflictError(ProviderError):
    """It exists already with other content, or somebody changed it meanwhile."""

    code = "conflict"


class ThrottledError(ProviderError):
    """The provider asked to slow down, and kept asking."""

    code = "throttled"


class LimitError(ProviderError):
    """A vendor's limit would be exceeded; the message has the limit."""

    code = "limit"


class VetoError(EdgectlError):
    """An extension refused the step."""

    code = "veto"
