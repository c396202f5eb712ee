"""PURE. Every decision, as functions and small state machines: no Faust, Kafka, asyncio, clock, randomness or environment."""
