"""Releases and packages from an OCI registry, by digest, for devices whose vendor has no store.

``fetch_release`` lays a release out as ``edge-agent apply`` takes it; ``OciSource`` feeds the
updater in the same process. Nothing of the registry is believed: a digest names what is wanted, and
what comes is looked at only once it has that digest.
"""

from __future__ import annotations

from edge_components.oci.fetch import FetchSettings, fetch_release
from edge_components.oci.source import OciSource, Wanted

__all__ = ["FetchSettings", "OciSource", "Wanted", "fetch_release"]
