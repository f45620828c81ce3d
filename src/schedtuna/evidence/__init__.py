"""Whether a difference is real: design, test, interval, verdict. Pure: no clocks, no files, no processes."""
