"""What would happen on another machine, with another scheduler? The typed face of the native simulator."""
