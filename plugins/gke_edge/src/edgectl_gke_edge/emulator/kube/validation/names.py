"""Names, labels, annotations, quantities: the patterns and the words they are refused with."""

from __future__ import annotations

import re

from edgectl_gke_edge.emulator.kube.errors import Cause, Json, Problems

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SERVICE = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"

LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must"
    " start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for"
    f" validation is '{_LABEL}')"
)
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'example.com', regex used for"
    rf" validation is '{_LABEL}(\.{_LABEL})*')"
)
SERVICE_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an"
    " alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123',"
    f" regex used for validation is '{_SERVICE}')"
)
KEY_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end"
    " with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for"
    f" validation is '{_QUALIFIED}')"
)
VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or"
    f" '12345', regex used for validation is '{_VALUE}')"
)
CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',"
    f"  or 'KEY_NAME',  or 'key-name', regex used for validation is '{_CONFIG_KEY}')"
)
MAX_ANNOTATIONS = 256 * 1024

# Kinds whose names are labels, service names, or RBAC's free path segments; all others subdomains.
_LABEL_NAMED = {"Namespace"}
_SERVICE_NAMED = {"Service"}
_PATH_NAMED = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def is_label(text: str) -> bool:
    """Say whether it is an RFC 1123 label."""
    return len(text) <= 63 and re.fullmatch(_LABEL, text) is not None


def is_subdomain(text: str) -> bool:
    """Say whether it is an RFC 1123 subdomain."""
    return len(text) <= 253 and re.fullmatch(_SUBDOMAIN, text) is not None


def name(kind: str, value: str, path: str, problems: Problems) -> None:
    """Check an object's name."""
    if kind in _PATH_NAMED:
        if value in {".", ".."} or "/" in value or "%" in value:
            problems.invalid(path, value, "may not contain '/' or '%' nor be '.' or '..'")
    elif kind in _LABEL_NAMED:
        label(value, path, problems)
    elif kind in _SERVICE_NAMED:
        if not re.fullmatch(_SERVICE, value):
            problems.invalid(path, value, SERVICE_TEXT)
        if len(value) > 63:
            problems.invalid(path, value, "must be no more than 63 characters")
    else:
        subdomain(value, path, problems)


def label(value: str, path: str, problems: Problems) -> None:
    """Check an RFC 1123 label."""
    if len(value) > 63:
        problems.invalid(path, value, "must be no more than 63 characters")
    if not re.fullmatch(_LABEL, value):
        problems.invalid(path, value, LABEL_TEXT)


def subdomain(value: str, path: str, problems: Problems) -> None:
    """Check an RFC 1123 subdomain."""
    if len(value) > 253:
        problems.invalid(path, value, "must be no more than 253 characters")
    if not re.fullmatch(_SUBDOMAIN, value):
        problems.invalid(path, value, SUBDOMAIN_TEXT)


def key(value: str, path: str, problems: Problems) -> None:
    """Check a label's or annotation's key: ``[prefix/]name``."""
    prefix, slash, rest = value.rpartition("/")
    if slash and (not is_subdomain(prefix) or "/" in prefix):
        problems.invalid(path, value, f"prefix part {SUBDOMAIN_TEXT}")
    if not rest:
        problems.invalid(path, value, "name part must be non-empty")
    elif len(rest) > 63:
        problems.invalid(path, value, "name part must be no more than 63 characters")
    if not re.fullmatch(_QUALIFIED, rest):
        problems.invalid(path, value, KEY_TEXT)


def labels(found: dict[str, str] | None, path: str, problems: Problems) -> None:
    """Check keys and values of labels."""
    for name_, value in sorted((found or {}).items()):
        key(name_, path, problems)
        label_value(value, path, problems)


def label_value(value: str, path: str, problems: Problems) -> None:
    """Check a label's value."""
    if len(value) > 63:
        problems.invalid(path, value, "must be no more than 63 characters")
    if not re.fullmatch(_VALUE, value):
        problems.invalid(path, value, VALUE_TEXT)


def metadata(kind: str, found: Json, problems: Problems, path: str = "metadata") -> None:
    """Check an object's metadata."""
    if not found.get("name"):
        problems.required(f"{path}.name", "name or generateName is required")
    else:
        name(kind, found["name"], f"{path}.name", problems)
    labels(found.get("labels"), f"{path}.labels", problems)
    annotation_map(found.get("annotations"), f"{path}.annotations", problems)
    for finalizer in found.get("finalizers", []):
        key(finalizer, f"{path}.finalizers", problems)
    for at, owner in enumerate(found.get("ownerReferences", [])):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                where = f"{path}.ownerReferences[{at}].{field}"
                problems.invalid(where, "", "must not be empty")


def annotation_map(found: dict[str, str] | None, path: str, problems: Problems) -> None:
    """Check annotations: keys, and the size of all together."""
    for name_ in sorted(found or {}):
        key(name_.lower(), path, problems)
    if sum(len(k) + len(v) for k, v in (found or {}).items()) > MAX_ANNOTATIONS:
        problems.causes.append(_too_long(path))


def _too_long(path: str) -> Cause:
    message = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
    return Cause("FieldValueTooLong", message, path)


def config_key(value: str, path: str, problems: Problems) -> None:
    """Check a key of a ConfigMap or Secret."""
    if not re.fullmatch(_CONFIG_KEY, value) or value in {".", ".."}:
        problems.invalid(path, value, CONFIG_KEY_TEXT)
    elif len(value) > 253:
        problems.invalid(path, value, "must be no more than 253 characters")
