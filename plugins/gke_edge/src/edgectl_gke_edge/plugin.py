"""The provider ``gke``: GKE, Google Distributed Cloud, and any other Kubernetes clusters.

The hooks are here; what they do is in ``_sdk`` (which imports lightkube and Google's clients,
inside the hooks only), what stands in a cluster is made in ``render`` and ``pod``, and what a node
and its pods mean is judged in ``states``.
"""

# ruff: noqa: PLC0415 - the SDK is imported by the hook that needs it

from __future__ import annotations

from typing import TYPE_CHECKING

from edgectl import api
from edgectl.api import hookimpl
from edgectl_gke_edge.config import GkeConfig

if TYPE_CHECKING:
    from edgectl_gke_edge._sdk.account import Account


class GkeProvider:
    """Kubernetes clusters as a provider.

    Args:
        config: ``providers.gke`` of the project file.
        context: Where the project and its state lie, and who hears of progress.
    """

    config_type = GkeConfig

    def __init__(self, config: GkeConfig, context: api.ProviderContext) -> None:
        self.config = config
        self.context = context

    @hookimpl
    def train(self, request: api.TrainRequest) -> api.TrainedModel:
        """Run the project's training in a Kubernetes Job."""
        from edgectl_gke_edge._sdk.train import train

        return train(self._open(), request, self.context.progress)

    @hookimpl
    def register(self, request: api.RegisterRequest) -> api.ModelVersion:
        """Keep a model version in the registry, or set its approval."""
        from edgectl_gke_edge._sdk.register import register

        return register(self._open(), request)

    @hookimpl
    def approval(self, request: api.ApprovalRequest) -> api.ApprovalResult:
        """Read the approval of a model version."""
        from edgectl_gke_edge._sdk.register import approval

        return approval(self._open(), request)

    @hookimpl
    def package(self, request: api.PackageRequest) -> api.PackageResult:
        """Push package, release and images to the registry."""
        from edgectl_gke_edge._sdk.package import package

        return package(self._open(), request)

    @hookimpl
    def preview(self, request: api.PreviewRequest) -> api.PreviewResult:
        """Apply everything without effect in each cluster, and return the manifests."""
        from edgectl_gke_edge._sdk.preview import preview

        return preview(self._open(), request)

    @hookimpl
    def deploy(self, request: api.DeployRequest) -> api.DeployResult:
        """Apply the release in each cluster and label the nodes that are to have it."""
        from edgectl_gke_edge._sdk.deploy import deploy

        return deploy(self._open(), request)

    @hookimpl
    def inventory(self, request: api.InventoryRequest) -> api.InventoryPage:
        """List the nodes that the selector finds."""
        from edgectl_gke_edge._sdk.inventory import inventory

        return inventory(self._open(), request)

    @hookimpl
    def observe(self, request: api.ObserveRequest) -> api.ObservePage:
        """Judge each node by its pods, in two lists a cluster."""
        from edgectl_gke_edge._sdk.observe import observe

        return observe(self._open(), request)

    @hookimpl
    def history(self, request: api.HistoryRequest) -> api.HistoryPage:
        """List the releases in the registry."""
        from edgectl_gke_edge._sdk.history import history

        return history(self._open(), request)

    @hookimpl
    def withdraw(self, request: api.WithdrawRequest) -> api.WithdrawResult:
        """Take labels off nodes, or remove what we made."""
        from edgectl_gke_edge._sdk.withdraw import withdraw

        return withdraw(self._open(), request)

    @hookimpl
    def coordinate(self, request: api.CoordinateRequest) -> api.CoordinateResult:
        """Compare and swap a text in the coordination cluster."""
        from edgectl_gke_edge._sdk.coordinate import coordinate

        return coordinate(self._open(), request)

    @hookimpl
    def telemetry(self, request: api.TelemetryRequest) -> api.TelemetryPage:
        """Read back what the collector wrote."""
        from edgectl_gke_edge._sdk.telemetry import telemetry

        return telemetry(self._open(), request)

    @hookimpl
    def check(self, request: api.CheckRequest) -> api.CheckResult:
        """Look at clusters, rights, registry and targets."""
        from edgectl_gke_edge._sdk.check import check

        return check(self._open(), request)

    @hookimpl
    def enroll(self, request: api.EnrollRequest) -> api.EnrollResult:
        """Label a node as a device, and have its cluster trust the publisher."""
        from edgectl_gke_edge._sdk.enroll import enroll

        return enroll(self._open(), request)

    @hookimpl
    def retire(self, request: api.RetireRequest) -> api.RetireResult:
        """Take the target's labels off a node."""
        from edgectl_gke_edge._sdk.enroll import retire

        return retire(self._open(), request)

    @hookimpl
    def capabilities(self, request: api.CapabilitiesRequest) -> api.Capabilities:
        """Say what the clusters do by themselves, and what they allow.

        A pod that fails never takes traffic, and the pod before goes on answering: that is the
        way back. The clusters know no waves and no failure threshold. Kubernetes limits neither
        the size of an image nor the calls that a plan could be checked against.
        """
        del request
        return api.Capabilities(
            device_rollback=True,
            pace=False,
            withdraw=True,
            telemetry=True,
            emulator=True,
            deltas=self.config.node_cache is not None and self.config.delivery != "image",
            network=self.config.delivery != "image",  # the kubelet pulls volumes at full speed
            limits=api.Limits(),
        )

    def _open(self) -> Account:
        """Return the clusters; they are found once, and shared by all threads."""
        from edgectl_gke_edge._sdk.account import shared_account

        return shared_account(self.config, self.context.project_dir)
