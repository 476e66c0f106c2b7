"""What runs inside a training container; sent there as files, imported by nobody here."""
