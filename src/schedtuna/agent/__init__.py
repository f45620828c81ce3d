"""The loop that senses, decides, asks a guard, acts through knobs, and writes down what it did and why."""
