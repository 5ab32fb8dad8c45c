"""The training system: recipes, data, runs, packages, evaluation. docs/training.md shows it at work."""
