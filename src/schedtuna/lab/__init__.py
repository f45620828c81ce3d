"""A lab in virtual machines: a real kernel with sched_ext, on any machine, with nothing of it at risk."""
