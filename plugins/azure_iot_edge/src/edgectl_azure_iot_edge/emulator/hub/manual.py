"""A deployment to one device (``applyConfigurationContent``), as ``az iot edge set-modules`` makes.

It sets the modules' desired properties once. Automatic deployments that target the device take
over again with the hub's next round, so the two do not go together.
"""

from __future__ import annotations

from typing import Any

from edgectl_azure_iot_edge.emulator.hub.configurations import DESIRED, check_modules
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.identity import AGENT, MANAGED, SYSTEM_MODULES
from edgectl_azure_iot_edge.emulator.hub.registry import Registry
from edgectl_azure_iot_edge.emulator.hub.twin import check_patch


def apply_content(registry: Registry, device_id: str, body: dict[str, Any]) -> None:
    """Set the modules of an edge device.

    Raises:
        HubError: ``DeviceNotFound``, it is no edge device, or the content is not good.
    """
    with registry.lock:
        device = registry.device(device_id)
        if not device.identity.iot_edge:
            raise HubError("ArgumentInvalid", "Not an Azure IoT Edge device")
        modules = body.get("modulesContent")
        if not isinstance(modules, dict):
            said = "The configuration content is invalid: 'modulesContent' is missing"
            raise HubError("InvalidConfigurationContent", said)
        check_modules(modules)
        for name, section in modules.items():
            if DESIRED not in section:
                said = f"The configuration content is invalid: '{name}' is not whole"
                raise HubError("InvalidConfigurationContent", said)
            check_patch(section[DESIRED], f"{name}.{DESIRED}")
        wanted = set(modules[AGENT][DESIRED].get("modules") or {})
        for name in sorted((wanted | set(modules)) - set(SYSTEM_MODULES)):
            registry.manage_module(device, name)
        for name, module in list(device.modules.items()):
            if module.identity.managed_by == MANAGED and name not in wanted | set(SYSTEM_MODULES):
                registry.drop_module(device, name)
            elif name in modules:
                registry.set_desired(module, dict(modules[name][DESIRED]))
                module.twin.counter += 1
                module.twin.version += 1
        registry.forget_assigned(device)
