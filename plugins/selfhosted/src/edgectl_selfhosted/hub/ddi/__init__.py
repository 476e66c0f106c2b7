"""The device side: hawkBit's Direct Device Integration API."""
