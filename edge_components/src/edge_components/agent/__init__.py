"""The agent of self-hosted devices: a hawkBit DDI client that also supervises the runtime."""
