"""What can be changed on a machine, and how it is put back: one family of knobs per file."""
