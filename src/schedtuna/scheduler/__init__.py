"""What decides: a named scheduler, its parameters and one assignment of them."""
