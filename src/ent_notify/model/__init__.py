"""Frozen values that every floor may speak of: people, audiences, events, deliveries. No I/O here."""
