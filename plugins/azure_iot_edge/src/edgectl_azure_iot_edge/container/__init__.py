"""Programs that run inside an Azure ML job's container; nothing of edgectl is there."""
