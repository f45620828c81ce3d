"""What happened on a machine, as tables: recorded, imported and simulated traces alike."""
