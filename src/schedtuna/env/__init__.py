"""Tuning as environments for reinforcement learning, one per file, and what a run is worth in them."""
