"""The correctors, one folder each, found through entry points."""
