"""What goes wrong between replayer and a cluster. Every message is a sentence that says what to do.

LogError (a core.errors.ReplayerError)
├── BrokerStartError      the embedded broker did not come up
├── BrokerUnreachable     no broker answers at the configured address
├── ConnectionRefused     a broker answers and does not accept our credentials
├── TopicError            a topic is missing, or is not what the catalogue says
├── PositionExpired       the log no longer has (or never had) the offset a reader asked for
└── PublishError          the broker refused a record
"""

from __future__ import annotations

from replayer.core.errors import ReplayerError


class LogError(ReplayerError):
    """Something between replayer and its cluster; the message is for the person at the keyboard."""


class BrokerStartError(LogError):
    """The embedded broker did not come up."""
