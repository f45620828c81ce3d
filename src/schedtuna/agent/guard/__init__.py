"""May what was changed stay? At once where it is bad, by on/off windows else."""
