"""The tables, and what a new hub begins with.

Times are milliseconds since 1970 UTC. ``user_version`` counts the migrations that were applied.
"""

from __future__ import annotations

import sqlite3

_AUDIT = """
    created_at INTEGER NOT NULL, created_by TEXT NOT NULL,
    modified_at INTEGER NOT NULL, modified_by TEXT NOT NULL"""

_TABLES = f"""
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL, {_AUDIT}) WITHOUT ROWID;

CREATE TABLE target_type (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    description TEXT, colour TEXT, {_AUDIT});
CREATE TABLE target_type_set_type (
    target_type_id INTEGER NOT NULL REFERENCES target_type ON DELETE CASCADE,
    set_type_id INTEGER NOT NULL REFERENCES set_type ON DELETE CASCADE,
    PRIMARY KEY (target_type_id, set_type_id)) WITHOUT ROWID;

CREATE TABLE target (
    id INTEGER PRIMARY KEY, controller_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    description TEXT, token TEXT NOT NULL, token_sha256 TEXT NOT NULL, address TEXT, ip TEXT,
    update_status TEXT NOT NULL DEFAULT 'unknown',
    assigned_ds INTEGER REFERENCES dset, installed_ds INTEGER REFERENCES dset,
    installed_at INTEGER, installed_action INTEGER, last_seen_at INTEGER,
    request_attributes INTEGER NOT NULL DEFAULT 1,
    type_id INTEGER REFERENCES target_type,
    auto_confirm INTEGER NOT NULL DEFAULT 0, auto_confirm_by TEXT, auto_confirm_remark TEXT,
    auto_confirm_at INTEGER, {_AUDIT});
CREATE INDEX target_token ON target (token_sha256);
CREATE INDEX target_assigned ON target (assigned_ds);
CREATE INDEX target_installed ON target (installed_ds);
CREATE INDEX target_name ON target (name);
CREATE TABLE target_attribute (
    target_id INTEGER NOT NULL REFERENCES target ON DELETE CASCADE,
    key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (target_id, key)) WITHOUT ROWID;
CREATE INDEX target_attribute_value ON target_attribute (key, value COLLATE NOCASE);
CREATE TABLE target_metadata (
    owner_id INTEGER NOT NULL REFERENCES target ON DELETE CASCADE, key TEXT NOT NULL,
    value TEXT, visible INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (owner_id, key)) WITHOUT ROWID;

CREATE TABLE tag (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, description TEXT, colour TEXT,
    {_AUDIT}, UNIQUE (kind, name));
CREATE TABLE target_tag (
    tag_id INTEGER NOT NULL REFERENCES tag ON DELETE CASCADE,
    owner_id INTEGER NOT NULL REFERENCES target ON DELETE CASCADE,
    PRIMARY KEY (owner_id, tag_id)) WITHOUT ROWID;
CREATE INDEX target_tag_tag ON target_tag (tag_id);

CREATE TABLE target_filter (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, query TEXT NOT NULL,
    auto_ds INTEGER REFERENCES dset ON DELETE SET NULL, auto_type TEXT, auto_weight INTEGER,
    confirmation_required INTEGER NOT NULL DEFAULT 0, {_AUDIT});

CREATE TABLE module_type (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    description TEXT, colour TEXT, max_assignments INTEGER NOT NULL DEFAULT 1,
    deleted INTEGER NOT NULL DEFAULT 0, {_AUDIT});
CREATE TABLE set_type (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
    description TEXT, colour TEXT, deleted INTEGER NOT NULL DEFAULT 0, {_AUDIT});
CREATE TABLE set_type_module (
    set_type_id INTEGER NOT NULL REFERENCES set_type ON DELETE CASCADE,
    module_type_id INTEGER NOT NULL REFERENCES module_type,
    mandatory INTEGER NOT NULL, PRIMARY KEY (set_type_id, module_type_id)) WITHOUT ROWID;

CREATE TABLE module (
    id INTEGER PRIMARY KEY, type_id INTEGER NOT NULL REFERENCES module_type, name TEXT NOT NULL,
    version TEXT NOT NULL, vendor TEXT, description TEXT, encrypted INTEGER NOT NULL DEFAULT 0,
    locked INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0, {_AUDIT});
CREATE UNIQUE INDEX module_unique ON module (type_id, name, version) WHERE deleted = 0;
CREATE TABLE module_metadata (
    owner_id INTEGER NOT NULL REFERENCES module ON DELETE CASCADE, key TEXT NOT NULL,
    value TEXT, visible INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (owner_id, key)) WITHOUT ROWID;
CREATE TABLE artifact (
    id INTEGER PRIMARY KEY, module_id INTEGER NOT NULL REFERENCES module ON DELETE CASCADE,
    filename TEXT NOT NULL, size INTEGER NOT NULL, md5 TEXT NOT NULL, sha1 TEXT NOT NULL,
    sha256 TEXT NOT NULL, {_AUDIT}, UNIQUE (module_id, filename));
CREATE INDEX artifact_sha256 ON artifact (sha256);

CREATE TABLE dset (
    id INTEGER PRIMARY KEY, type_id INTEGER NOT NULL REFERENCES set_type, name TEXT NOT NULL,
    version TEXT NOT NULL, description TEXT, locked INTEGER NOT NULL DEFAULT 0,
    valid INTEGER NOT NULL DEFAULT 1, migration INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0, {_AUDIT});
CREATE UNIQUE INDEX dset_unique ON dset (name, version) WHERE deleted = 0;
CREATE TABLE dset_module (
    ds_id INTEGER NOT NULL REFERENCES dset ON DELETE CASCADE,
    module_id INTEGER NOT NULL REFERENCES module, PRIMARY KEY (ds_id, module_id)) WITHOUT ROWID;
CREATE INDEX dset_module_module ON dset_module (module_id);
CREATE TABLE dset_metadata (
    owner_id INTEGER NOT NULL REFERENCES dset ON DELETE CASCADE, key TEXT NOT NULL,
    value TEXT, visible INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (owner_id, key)) WITHOUT ROWID;
CREATE TABLE dset_tag (
    tag_id INTEGER NOT NULL REFERENCES tag ON DELETE CASCADE,
    owner_id INTEGER NOT NULL REFERENCES dset ON DELETE CASCADE,
    PRIMARY KEY (owner_id, tag_id)) WITHOUT ROWID;
CREATE INDEX dset_tag_tag ON dset_tag (tag_id);

CREATE TABLE rollout (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT, status TEXT NOT NULL,
    ds_id INTEGER NOT NULL REFERENCES dset, query TEXT NOT NULL, force_type TEXT NOT NULL,
    force_time INTEGER, start_at INTEGER, weight INTEGER, approval_remark TEXT,
    approval_by TEXT, total_targets INTEGER NOT NULL, retry_of INTEGER,
    deleted INTEGER NOT NULL DEFAULT 0, {_AUDIT});
CREATE UNIQUE INDEX rollout_unique ON rollout (name) WHERE deleted = 0;
CREATE INDEX rollout_status ON rollout (status);
CREATE TABLE rollout_group (
    id INTEGER PRIMARY KEY, rollout_id INTEGER NOT NULL REFERENCES rollout ON DELETE CASCADE,
    position INTEGER NOT NULL, name TEXT NOT NULL, description TEXT, status TEXT NOT NULL,
    query TEXT NOT NULL, percentage REAL NOT NULL, success_threshold INTEGER NOT NULL,
    success_action TEXT NOT NULL, error_threshold INTEGER NOT NULL,
    confirmation_required INTEGER NOT NULL DEFAULT 0, total_targets INTEGER NOT NULL DEFAULT 0,
    {_AUDIT}, UNIQUE (rollout_id, position));
CREATE TABLE rollout_target (
    group_id INTEGER NOT NULL REFERENCES rollout_group ON DELETE CASCADE,
    target_id INTEGER NOT NULL REFERENCES target ON DELETE CASCADE,
    PRIMARY KEY (group_id, target_id)) WITHOUT ROWID;
CREATE INDEX rollout_target_target ON rollout_target (target_id);

CREATE TABLE action (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target_id INTEGER NOT NULL REFERENCES target ON DELETE CASCADE,
    ds_id INTEGER NOT NULL REFERENCES dset, status TEXT NOT NULL, active INTEGER NOT NULL,
    force_type TEXT NOT NULL, force_time INTEGER, weight INTEGER, external_ref TEXT,
    rollout_id INTEGER REFERENCES rollout ON DELETE SET NULL,
    group_id INTEGER REFERENCES rollout_group ON DELETE SET NULL,
    last_status_code INTEGER, {_AUDIT});
CREATE INDEX action_open ON action (target_id) WHERE active = 1;
CREATE INDEX action_target ON action (target_id, id);
CREATE INDEX action_group ON action (group_id, status);
CREATE INDEX action_rollout ON action (rollout_id, status);
CREATE INDEX action_ds ON action (ds_id);
CREATE TABLE action_status (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    action_id INTEGER NOT NULL REFERENCES action ON DELETE CASCADE,
    status TEXT NOT NULL, code INTEGER, reported_at INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL, messages TEXT NOT NULL);
CREATE INDEX action_status_action ON action_status (action_id, id);

CREATE TABLE telemetry (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, id TEXT NOT NULL,
    application TEXT NOT NULL, kind TEXT NOT NULL, time_unix_ns INTEGER NOT NULL,
    received_at INTEGER NOT NULL, record BLOB NOT NULL, UNIQUE (device, id));
CREATE INDEX telemetry_application ON telemetry (application, time_unix_ns, seq);
CREATE INDEX telemetry_device ON telemetry (device, time_unix_ns, seq);
"""

_SEED = """
INSERT INTO module_type VALUES
    (1, 'os', 'OS', 'Operating system or firmware', NULL, 1, 0, :now, 'system', :now, 'system'),
    (2, 'application', 'Application', 'Application on top', NULL, 2147483647, 0,
     :now, 'system', :now, 'system');
INSERT INTO set_type VALUES
    (1, 'os', 'OS only', 'Operating system alone', NULL, 0, :now, 'system', :now, 'system'),
    (2, 'app', 'App(s) only', 'Applications alone', NULL, 0, :now, 'system', :now, 'system'),
    (3, 'os_app', 'OS with app(s)', 'Operating system, and applications where there are any',
     NULL, 0, :now, 'system', :now, 'system');
INSERT INTO set_type_module VALUES (1, 1, 1), (2, 2, 1), (3, 1, 1), (3, 2, 0);
"""

_MIGRATIONS = (_TABLES + _SEED,)


class SchemaError(Exception):
    """The database cannot be used by this hub; the message says why."""


def migrate(conn: sqlite3.Connection, now_ms: int) -> None:
    """Bring a database to the newest schema, each step whole or not at all.

    Raises:
        SchemaError: A newer hub wrote this database.
    """
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise SchemaError(
            f"the database has schema {version}, this hub knows up to {len(_MIGRATIONS)}"
        )
    for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
        conn.execute("BEGIN IMMEDIATE")
        for statement in script.split(";\n"):
            if statement.strip():
                named = {"now": now_ms} if ":now" in statement else {}
                conn.execute(statement, named)
        conn.execute(f"PRAGMA user_version = {number:d}")
        conn.execute("COMMIT")
