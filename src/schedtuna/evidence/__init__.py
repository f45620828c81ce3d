"""Whether a difference is real: design, test, interval, verdict. Pure: no clocks, no files, no processes."""

DELTA = 0.03
"""The relative gain that matters, where nobody says otherwise."""
