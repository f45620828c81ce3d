"""SchedBench: loads, rules and entries that others can repeat, by one version and one hash."""
