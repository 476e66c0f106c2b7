"""What devices are shown of an action: chunks, artifacts, links."""

from __future__ import annotations

import sqlite3
from urllib.parse import quote

from edgectl_selfhosted.hub.http import Json, compact, link
from edgectl_selfhosted.hub.store import actions, metadata, modules

# hawkBit's names of the parts of a chunk: a set of modules of these types is installed as …
_PARTS = {"os": "os", "application": "bApp", "runtime": "jvm"}


def deployment(
    conn: sqlite3.Connection,
    action: actions.Action,
    root: str,
    now_ms: int,
    *,
    history: int | None,
    body_key: str = "deployment",
) -> Json:
    """Return a ``DdiDeploymentBase`` (or its confirmation twin, by ``body_key``)."""
    handling = "forced" if action.is_forced(now_ms) else "attempt"
    only_download = action.force_type == "downloadonly"
    chunks = [_chunk(conn, module, root) for module in modules.of_set(conn, action.ds_id)]
    shown: Json = {
        "id": str(action.id),
        body_key: {
            "download": "forced" if only_download else handling,
            "update": "skip" if only_download else handling,
            "chunks": chunks,
        },
    }
    if history is not None:
        shown["actionHistory"] = {
            "status": action.status.upper(),
            "messages": actions.messages(conn, action.id, history) if history else [],
        }
    return shown


def _chunk(conn: sqlite3.Connection, module: modules.Module, root: str) -> Json:
    shown = metadata.shown(conn, module.id)
    return compact(
        {
            "part": _PARTS.get(module.type_key, module.type_key),
            "version": module.version,
            "name": module.name,
            "encrypted": True if module.encrypted else None,
            "artifacts": [artifact(a, root) for a in modules.artifacts(conn, module.id)],
            "metadata": [{"key": m.key, "value": m.value or ""} for m in shown] or None,
        }
    )


def artifact(file: modules.Artifact, root: str) -> Json:
    """Return a ``DdiArtifact``; the links' names say whether they are plain HTTP."""
    href = f"{root}/softwaremodules/{file.module_id}/artifacts/{quote(file.filename, safe='')}"
    suffix = "" if root.startswith("https:") else "-http"
    return {
        "filename": file.filename,
        "hashes": {"sha1": file.sha1, "md5": file.md5, "sha256": file.sha256},
        "size": file.size,
        "_links": {
            f"download{suffix}": link(href),
            f"md5sum{suffix}": link(f"{href}.MD5SUM"),
        },
    }
