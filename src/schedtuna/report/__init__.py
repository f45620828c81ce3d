"""What people look at: figures and self-contained HTML. Numbers come in, nothing is computed anew."""
