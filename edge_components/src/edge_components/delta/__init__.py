"""Making a package's files from those of the package before and a small delta."""
