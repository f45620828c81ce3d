"""Is the simulated machine like this one? A certificate, by rules that were fixed before the data."""
