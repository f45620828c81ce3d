"""The policy `swap`: which scheduler is in charge, by what the machine does."""
