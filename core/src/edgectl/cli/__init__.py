"""The command line: what is typed, what is printed, what it exits with."""
