"""For the services that are watched: emits their events. Knows the language of the topics, and nothing of workers."""

from replayer.client.emitter import Dropped, Emitter

__all__ = ["Dropped", "Emitter"]
