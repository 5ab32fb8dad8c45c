"""The training side of each corrector."""
