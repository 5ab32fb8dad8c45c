"""hipct."""
