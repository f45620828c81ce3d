"""Programs that run inside the guests: copied there by name, so each stands alone."""
