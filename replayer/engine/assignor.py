"""The doors into Faust's assignor: who has a copy follows, and a worker that comes back changed."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, cast

import structlog
from faust.assignor import partition_assignor
from faust.assignor.client_assignment import ClientMetadata, CopartitionedAssignment
from faust.assignor.copartitioned_assignor import CopartitionedAssignor
from faust.assignor.partition_assignor import PartitionAssignor

log = structlog.get_logger(__name__)


class WarmAssignor(CopartitionedAssignor):
    """Faust's, but a partition whose worker is gone goes to who has a copy of it, be that one full.

    Faust's hands it to one with room, which rebuilds it from its changelog while the copy lies idle. The next worker
    that comes takes what somebody has too much of, as in Faust's.
    """

    _owned: frozenset[int] = frozenset()  # before anything was taken from anybody

    def get_assignment(self) -> MutableMapping[str, CopartitionedAssignment]:
        self._owned = frozenset(number for one in self._client_assignments.values() for number in one.actives)
        return super().get_assignment()

    def _find_promotable_standby(
        self, partition: int, candidates: Iterator[CopartitionedAssignment]
    ) -> CopartitionedAssignment | None:
        found = super()._find_promotable_standby(partition, candidates)
        if found is not None or partition in self._owned:
            return found
        copies = (one for one in self._client_assignments.values() if one.partition_assigned(partition, active=False))
        return min(copies, key=lambda one: one.num_assigned(active=True), default=None)

    def _get_client_limit(self, active: bool) -> int:
        if active:
            return super()._get_client_limit(active)
        # What one has too much of, others need room to copy.
        most = max(one.num_assigned(active=True) for one in self._client_assignments.values())
        return max(self.max_capacity, most) * self.replicas

    def _client_exhausted(
        self, assignemnt: CopartitionedAssignment, active: bool, client_limit: int | None = None
    ) -> bool:
        limit = self._get_client_limit(active) if client_limit is None else client_limit
        return assignemnt.num_assigned(active) >= limit


class BatchAssignor(PartitionAssignor):
    """Faust's assignor, for static members and with copies that are used.

    A static member that returns before its session ran out is handed the assignment it had, made for the address, the
    topics and the partitions it had. Faust dies of another address and never looks at the rest. Here it takes what it
    is given and joins once more: now the broker sees that it has changed, and everybody learns of it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._joined_again = False
        partition_assignor.CopartitionedAssignor = WarmAssignor  # type: ignore[attr-defined] # made by this name there

    def on_assignment(self, assignment: Any) -> None:
        metadata = cast(ClientMetadata, ClientMetadata.loads(self._decompress(assignment.user_data)))
        url = str(self._url)
        moved = metadata.url != url
        if (moved or self._lacks(metadata)) and not self._joined_again:
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

    def _lacks(self, metadata: ClientMetadata) -> bool:
        """Whether it was made without some topic of ours, or for fewer partitions than our tables have by now."""
        wanted = {topic for channel in self.app.topics for topic in channel.topics}
        if not wanted <= set(metadata.topic_groups):
            return True
        engine = self.app.engine  # type: ignore[attr-defined] # EngineApp
        shares = metadata.changelog_distribution.values()
        return any(
            len({number for share in shares for number in share.get(engine.changelog(name), ())}) < spec.partitions
            for name, spec in engine.specs.items()
        )
