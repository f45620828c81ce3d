"""Designed trials, executed on a backend: compare two schedulers, measure how much a load varies."""
