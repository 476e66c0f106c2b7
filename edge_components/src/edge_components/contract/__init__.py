"""What both sides write and read: package layout, release, device state, telemetry, hardware.

The operator's side (core and plugins) and the device side share this room and nothing else. It
imports the standard library and msgspec only, does no I/O and decides nothing that depends on a
clock, a host or a vendor.
"""
