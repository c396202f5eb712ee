"""What goes wrong between replayer and a cluster. Every message is a sentence that says what to do.

LogError (a core.errors.ReplayerError)
├── BrokerStartError      the embedded broker did not come up
├── BrokerUnreachable     no broker answers at the configured address
├── AccessRefused         a broker answers and does not accept our credentials
├── TopicError            a topic is missing, or cannot be made as asked
├── PositionExpired       the log does not hold (any more, or yet) the offset a reader asked for
└── PublishError          a record was not accepted
"""

from __future__ import annotations

from replayer.core.errors import ReplayerError


class LogError(ReplayerError):
    """Something between replayer and its cluster; the message is for the person at the keyboard."""


class BrokerStartError(LogError):
    """The embedded broker did not come up."""


class BrokerUnreachable(LogError):
    """No broker answers at the configured address."""


class AccessRefused(LogError):
    """A broker answers and does not accept our credentials."""


class TopicError(LogError):
    """A topic is missing, or cannot be made as asked."""


class PositionExpired(LogError):
    """The log does not hold the offset a reader asked for: retention has deleted it, or the topic was made anew."""

    def __init__(self, topic: str, partition: int, offset: int, begin: int, end: int) -> None:
        self.topic, self.partition, self.offset, self.begin, self.end = topic, partition, offset, begin, end
        what = "has expired" if offset < begin else "was never written: has the topic been made anew?"
        super().__init__(f"{topic}[{partition}] holds offsets {begin} to {end}; offset {offset} {what}")


class PublishError(LogError):
    """A record was not accepted. `index`: its place in what was to be published."""

    def __init__(self, index: int, topic: str, reason: str) -> None:
        self.index, self.topic, self.reason = index, topic, reason
        super().__init__(f"Record {index} was not accepted by topic {topic}: {reason}")
