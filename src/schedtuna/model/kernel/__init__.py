"""Canonical models inside the running kernel: tables for fixed BPF programs, loading, swapping, cost."""
