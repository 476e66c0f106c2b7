"""The management side: hawkBit's ``/rest/v1``, for operators and for the provider."""

from edgectl_selfhosted.hub.mgmt import (
    actions,
    assignments,
    filters,
    modules,
    rollouts,
    sets,
    system,
    tags,
    targets,
    types,
)

ROUTES = [
    *targets.ROUTES,
    *actions.ROUTES,
    *assignments.ROUTES,
    *tags.ROUTES,
    *filters.ROUTES,
    *types.ROUTES,
    *modules.ROUTES,
    *sets.ROUTES,
    *rollouts.ROUTES,
    *system.ROUTES,
]
