"""The example project, file by file the same as examples/plates."""
