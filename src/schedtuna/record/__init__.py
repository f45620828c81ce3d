"""Recording: what the scheduler does, as a stream of events or as statistics, and what /proc tells."""
