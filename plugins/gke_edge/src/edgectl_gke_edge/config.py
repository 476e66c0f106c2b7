"""What ``providers.gke`` of the project file may hold.

Credentials never stand here: they come from Google's application default credentials, or from the
kubeconfig file that is named.
"""

from __future__ import annotations

from edgectl.api import Record


class GkeConfig(Record, frozen=True, kw_only=True):
    """The part of a Google Cloud project that the project uses.

    Attributes:
        project: The Google Cloud project of clusters and fleet.
        location: Region or zone of the clusters, for example ``us-central1``.
        kubeconfig: A kubeconfig file whose contexts are the clusters; None reaches them through
            the connect gateway.
        repository: The Artifact Registry repository of packages and images.
    """

    project: str
    location: str
    kubeconfig: str | None = None
    repository: str | None = None
