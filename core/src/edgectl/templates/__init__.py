"""What ``edgectl init`` writes."""
