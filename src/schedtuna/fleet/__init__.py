"""Runs over the machines of a Ray cluster: the same trials, in the same order, sooner."""
