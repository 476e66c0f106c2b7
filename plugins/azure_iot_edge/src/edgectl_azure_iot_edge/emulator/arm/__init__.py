"""Azure Resource Manager, as far as SDKs and the Azure CLI ask it about the subscription."""
