"""Studies as they are stored: what was asked, what was found, and what past ones say together."""
