"""What the kernel counted of tasks: its records, their sums, and the figures that follow."""
