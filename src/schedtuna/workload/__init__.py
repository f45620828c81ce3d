"""What runs: a command, how to run it, and what to read from it."""
