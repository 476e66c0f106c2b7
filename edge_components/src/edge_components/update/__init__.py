"""The updater: a pure state machine (``machine``) and what carries out its commands."""
