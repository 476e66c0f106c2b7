"""``edgectl emulate aws``: the part of an AWS account that the provider uses, on loopback.

Nothing outside this package imports it, and the provider's own code never does.
"""
