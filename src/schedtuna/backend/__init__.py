"""Where a workload runs. Every backend answers one call and returns a Trial."""
