"""Samplers: what to try next. `base` has the contract, and each other file one sampler."""
