"""The process that owns a device: read -> correct -> guard -> derive -> outbox."""
