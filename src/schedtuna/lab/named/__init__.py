"""Guests with a name, which outlive the command that started them."""
