"""For tests of providers: the conformance kit, and a provider that lives in memory.

``edgectl.testing.conformance`` imports pytest and is for test suites; nothing else here does.
"""
