"""A model in the form that others run: C, shared libraries."""
