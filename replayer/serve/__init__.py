"""Answers people: web views, forwarding, auth."""
