"""Telemetry of the device: record, keep on disk within a budget, send at least once."""
