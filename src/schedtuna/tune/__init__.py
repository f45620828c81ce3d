"""A search over a parameter space: a sampler asks and is told, the winner is confirmed."""
