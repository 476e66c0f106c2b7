"""The rollout engine: (policy, device states, clock) → next action, without I/O.

The driver around it calls hooks and the clock; everything here takes and returns plain data, so
that a driver that was killed and started again decides the same from what the provider says.
"""
