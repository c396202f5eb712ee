"""Ports made real: log reader, publisher, topic admin, embedded broker."""
