"""What the agent brings on a load whose parts nobody has named, beside what an oracle would."""
