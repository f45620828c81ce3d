"""Runs workloads for other machines, which ask over HTTP: `schedtuna serve`."""
