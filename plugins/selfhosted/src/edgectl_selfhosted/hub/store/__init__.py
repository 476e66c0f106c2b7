"""The hub's truth: SQLite, one module per entity, every function inside one transaction."""
