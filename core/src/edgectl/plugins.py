"""Finding, opening and wrapping providers.

Providers are found by entry-point name; only the one that was asked for is imported. Around a
provider's own hooks stand core's wrappers, the journal outermost and the translation of stray
errors innermost, and between them the installed extensions, which may wrap or veto any hook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

import msgspec
import pluggy

from edgectl import hookspecs
from edgectl.errors import ProjectError, ProviderError, UnknownProviderError
from edgectl.provider import Provider, ProviderContext
from edgectl.wrappers import ErrorTranslation

PROVIDER_GROUP = "edgectl.providers"
EXTENSION_GROUP = "edgectl.extensions"
DISTRIBUTIONS = {
    "aws": "edgectl-aws-greengrass",
    "azure": "edgectl-azure-iot-edge",
    "gke": "edgectl-gke-edge",
    "selfhosted": "edgectl-selfhosted",
}

Locate = Callable[[str], str]
Facade = Callable[[str, pluggy.PluginManager], Provider]


def installed_providers() -> tuple[str, ...]:
    """Return the names of the installed providers, sorted; imports none of them."""
    return tuple(sorted(metadata.entry_points(group=PROVIDER_GROUP).names))


def load_provider_class(name: str) -> Any:
    """Import the provider called ``name`` and nothing else.

    Raises:
        UnknownProviderError: It is not installed (with the install command), or not known.
        ProviderError: Its module cannot be imported.
    """
    found = tuple(metadata.entry_points(group=PROVIDER_GROUP, name=name))
    if not found:
        raise _unknown(name)
    try:
        return found[0].load()
    except (ImportError, AttributeError) as exc:
        raise ProviderError(
            f"provider '{name}' is installed but cannot be loaded: {exc}",
            hint=f"reinstall it: pip install --force-reinstall {DISTRIBUTIONS.get(name, name)}",
        ) from exc


def open_provider(
    name: str,
    config: dict[str, Any],
    context: ProviderContext,
    *,
    wrappers: Iterable[object] = (),
    locate: Locate = lambda key: key,
    facade: Facade = Provider,
) -> Provider:
    """Open a provider by name.

    Args:
        name: The entry point's name.
        config: The provider's part of the project file, environment already expanded.
        context: What the provider gets beside it.
        wrappers: Core's wrappers, outermost first (the journal).
        locate: Turns a key into "file:line: key" for messages.
        facade: Makes what callers get; a dry run has one of its own.

    Raises:
        UnknownProviderError: It is not installed or not known.
        ProjectError: The configuration does not have the provider's form.
    """
    plugin_class = load_provider_class(name)
    try:
        settings = msgspec.convert(config, plugin_class.config_type)
    except msgspec.ValidationError as exc:
        message, _, path = str(exc).partition(" - at ")
        key = f"providers.{name}" + path.strip("`").removeprefix("$")
        raise ProjectError(f"{locate(key)}: {message}") from exc
    plugin = plugin_class(settings, context)
    return provider_from_plugin(name, plugin, context, wrappers=wrappers, facade=facade)


def provider_from_plugin(
    name: str,
    plugin: object,
    context: ProviderContext,
    *,
    wrappers: Iterable[object] = (),
    facade: Facade = Provider,
) -> Provider:
    """Put a plugin object behind the typed facade, with extensions and wrappers around it.

    Raises:
        ProviderError: The plugin has a hook that does not exist or has other arguments.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin, name=name)
        manager.register(ErrorTranslation(name), name="edgectl-errors")
        for extension_name, extension in _extensions(context):
            manager.register(extension, name=extension_name)
        for wrapper in reversed(tuple(wrappers)):
            manager.register(wrapper)
        manager.check_pending()
    except pluggy.PluginValidationError as exc:
        raise ProviderError(
            f"provider '{name}' is broken: {exc}",
            hint="hooks take one argument, `request`; see docs/writing-a-provider.md",
        ) from exc
    return facade(name, manager)


def _extensions(context: ProviderContext) -> Iterable[tuple[str, object]]:
    for entry in sorted(metadata.entry_points(group=EXTENSION_GROUP), key=lambda e: e.name):
        try:
            loaded = entry.load()
            yield entry.name, loaded(context) if isinstance(loaded, type) else loaded
        except (ImportError, AttributeError, TypeError) as exc:
            raise ProviderError(
                f"extension '{entry.name}' cannot be loaded: {exc}",
                hint=f"reinstall or remove what provides '{entry.value}'; an extension is a class "
                "made with the context, or an object with hooks",
            ) from exc


def _unknown(name: str) -> UnknownProviderError:
    if name in DISTRIBUTIONS:
        return UnknownProviderError(
            f"provider '{name}' is not installed",
            hint=f"pip install {DISTRIBUTIONS[name]}",
        )
    known = ", ".join(sorted({*DISTRIBUTIONS, *installed_providers()}))
    return UnknownProviderError(f"provider '{name}' is not known", hint=f"known providers: {known}")
