"""Blob storage of the emulated subscription: one account, as far as Azure ML and its SDK use it."""
