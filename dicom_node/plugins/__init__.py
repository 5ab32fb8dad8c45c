"""Correctors from installed packages: discovery, parameters, weights, building."""
