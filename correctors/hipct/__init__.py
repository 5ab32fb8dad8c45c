"""Metal streaks in hip CT."""
