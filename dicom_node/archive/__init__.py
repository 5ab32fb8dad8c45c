"""Originals at rest and their index. Receivers import `model` alone, so nothing is imported here."""
