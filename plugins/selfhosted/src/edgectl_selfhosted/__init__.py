"""Provider selfhosted: own machines, through the hub or any Eclipse hawkBit server."""
