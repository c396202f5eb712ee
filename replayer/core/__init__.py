"""PURE. Every decision, as functions: no Faust, Kafka, asyncio, clock, randomness or environment."""
