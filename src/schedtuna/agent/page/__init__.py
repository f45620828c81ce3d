"""A page on which people see what the agent does, as it does it, and undo a change by a click."""
