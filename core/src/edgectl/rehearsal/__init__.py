"""Rehearsing a deploy: emulators for one command, and nothing that reaches a real fleet."""
