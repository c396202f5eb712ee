"""The door into Faust's assignor: a worker that comes back changed, before anybody missed it."""

from __future__ import annotations

from typing import Any, cast

import structlog
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor

log = structlog.get_logger(__name__)


class BatchAssignor(PartitionAssignor):
    """Faust's assignor, for static members.

    A static member that returns before its session ran out is handed the assignment it had, made for the address and
    the topics it had. Faust dies of another address and never looks at the topics. Here it takes what it is given and
    joins once more: now the broker sees that it has changed, and everybody learns of it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._joined_again = False

    def on_assignment(self, assignment: Any) -> None:
        metadata = cast(ClientMetadata, ClientMetadata.loads(self._decompress(assignment.user_data)))
        url = str(self._url)
        moved = metadata.url != url
        if (moved or self._lacks_topics(metadata)) and not self._joined_again:
            self._joined_again = True
            log.info("the assignment is that of an earlier process; joining again", address=metadata.url, now=url)
            if moved:
                for distribution in (metadata.changelog_distribution, metadata.external_topic_distribution):
                    cast(dict[str, Any], distribution)[url] = distribution.pop(metadata.url, {})
                metadata.url = url
                assignment = type(assignment)(
                    assignment.version, assignment.assignment, self._compress(metadata.dumps())
                )
            self.app.engine.consumer.join_again()  # type: ignore[attr-defined] # EngineApp
        super().on_assignment(assignment)

    def _lacks_topics(self, metadata: ClientMetadata) -> bool:
        wanted = {topic for channel in self.app.topics for topic in channel.topics}
        return not wanted <= set(metadata.topic_groups)
