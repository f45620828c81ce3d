"""What was drawn, what came of it, and what another policy would have brought."""
