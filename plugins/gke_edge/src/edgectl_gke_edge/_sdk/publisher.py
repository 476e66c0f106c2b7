"""Whose releases pods trust: a public key in the cluster, set once and never changed by a deploy.

A cluster's trust is set when its first device is added, or with the first release; whoever wants
another key there changes the ConfigMap, or adds the device anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgectl.api import ProjectError, load_project
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import kinds
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.kube import Kube
from edgectl_gke_edge.pod import PUBLISHER_FILE

_PRIVATE = frozenset({".pem", ".key"})
_MARK = "BEGIN PUBLIC KEY"


def trusted(account: Account, kube: Kube, application: str) -> str:
    """Return the key that a cluster's pods trust, or "" where none is set."""
    found = kube.get(
        "look for the publisher's key",
        kinds.ConfigMap,
        names.trust_name(application),
        account.namespace(application),
    )
    return str(((found or {}).get("data") or {}).get(PUBLISHER_FILE, ""))


def own_key(account: Account) -> str:
    """Return this project's public key (PEM).

    Raises:
        ProjectError: It is not where the settings say, or beside the signing key.
    """
    configured = account.config.publisher_key
    path = account.project_dir / configured if configured else _beside(account.project_dir)
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as exc:
        raise ProjectError(
            f"the publisher's public key '{path}' cannot be read: {exc}",
            hint="set `publisher_key` of providers.gke, or add a device (`edgectl devices add`)",
        ) from exc
    if _MARK not in text:
        raise ProjectError(f"'{path}' is not a public key (PEM)")
    return text


def _beside(project_dir: Path) -> Path:
    given = os.environ.get("EDGECTL_SIGNING_KEY")
    if given:
        private = Path(given)
    else:
        project = load_project(project_dir)
        private = project.dir / project.spec.signing.key
    if private.suffix in _PRIVATE:
        return private.with_suffix(".pub")
    return private.with_name(private.name + ".pub")
