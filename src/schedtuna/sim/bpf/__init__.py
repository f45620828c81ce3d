"""What does a sched_ext scheduler's compiled object do? Translated for the simulated machine."""
