"""edgectl provider gke: GKE and Google Distributed Cloud."""
