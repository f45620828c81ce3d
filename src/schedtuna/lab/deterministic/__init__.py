"""Guests whose every run is the same, bit for bit: orders, snapshots and trials."""
