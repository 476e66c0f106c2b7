"""The hub: a hawkBit-compatible update server in one process.

Rooms: ``store`` keeps the truth (SQLite, one module per entity), ``ddi`` speaks with devices,
``mgmt`` with operators, ``telemetry`` takes OTLP records in; ``serve`` runs it all.
"""
