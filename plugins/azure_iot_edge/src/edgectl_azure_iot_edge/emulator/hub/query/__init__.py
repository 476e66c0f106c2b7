"""The hub's query language: text → tree → answer. Pure."""
