"""Does a scheduler ever forget a task? Adversaries in deterministic guests, and a certificate of them."""
