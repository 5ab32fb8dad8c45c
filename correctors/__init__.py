"""correctors."""
