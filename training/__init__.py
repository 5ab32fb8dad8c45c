"""The training system; nothing here yet."""
