"""Runs one replay: command -> private consumer group -> results."""
