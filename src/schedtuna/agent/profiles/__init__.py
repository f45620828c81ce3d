"""Power profiles: desktops choose how the agent acts."""
