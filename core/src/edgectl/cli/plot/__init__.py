"""Pictures of telemetry: drift and latency over time, as SVG or PNG."""
