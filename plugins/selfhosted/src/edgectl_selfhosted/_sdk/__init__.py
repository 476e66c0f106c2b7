"""What talks to the server: imported inside hook bodies only, one verb a module."""
