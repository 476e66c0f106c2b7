"""Drift: how far what a model sees and answers has moved from the package's golden set."""
