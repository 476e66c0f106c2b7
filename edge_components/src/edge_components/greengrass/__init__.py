"""What a component of AWS IoT Greengrass asks of its nucleus. Needs the extra ``[greengrass]``."""

from edge_components.greengrass.ipc import NucleusError, NucleusLink, is_component, publish

__all__ = ["NucleusError", "NucleusLink", "is_component", "publish"]
