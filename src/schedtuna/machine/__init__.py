"""What this machine is: its topology, what it can do, and what two results on it have in common."""
