"""The archive in order over the years: retention, old rows, repair, and what an operator should know."""
