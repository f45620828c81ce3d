"""Models that others trained, made into their canonical form."""
