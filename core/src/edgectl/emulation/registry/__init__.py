"""An OCI registry for emulators and tests: strict, small, with its content in a folder.

``RegistryServer`` runs in this process, ``python -m edgectl.emulation.registry`` in one of its own.
"""

from __future__ import annotations

from edgectl.emulation.registry.access import Access, Accounts, Passwords
from edgectl.emulation.registry.faults import RegistryFault, RegistryFaults
from edgectl.emulation.registry.server import RegistryServer

__all__ = ["Access", "Accounts", "Passwords", "RegistryFault", "RegistryFaults", "RegistryServer"]
