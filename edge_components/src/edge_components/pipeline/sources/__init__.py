"""The sources: each takes readings from somewhere and knows what becomes of them afterwards."""
