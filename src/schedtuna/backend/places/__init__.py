"""Where runs can be made, as data. A place is one file here, and one row of `registry`."""
