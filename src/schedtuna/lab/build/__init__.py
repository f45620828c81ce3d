"""What the lab is made of: packages, kernels and schedulers, fetched and built once."""
