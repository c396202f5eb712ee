"""A table of replays in memory, folded from the log when a test says so: what the engine does, slowly and visibly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from replayer.core.replays import ReplaysFold
from replayer.kafka.admin import LogAdmin
from replayer.kafka.reader import LogReader
from tests.investigate.conftest import PARTITIONS, Log
from topics.commands import ReplayCommand, encode_command

COMMANDS = "commands"


@dataclass(frozen=True, slots=True)
class Told:
    """A command, as a record."""

    key: bytes
    value: bytes
    topic: str = COMMANDS
    partition: int = 0
    offset: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Table:
    """All partitions in one. `owned`: whether this process is their owner, as far as it knows."""

    log: Log
    owned: bool = True
    rows: dict[bytes, bytes] = field(default_factory=dict)

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.rows.get(key) for key in keys]

    def scan(self, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.rows.items() if k.startswith(prefix) and k >= (start or b"")))

    def partitions(self) -> list[Table]:
        return [self] if self.owned else []

    def tell(self, *commands: ReplayCommand) -> None:
        self._fold([Told(command.key, encode_command(command)) for command in commands])

    async def tell_anew(self, *commands: ReplayCommand) -> None:
        """As if these had been the commands all along: a replay that was slow to be watched may now be quick to end."""
        self.rows.clear()
        self.tell(*commands)
        await self.catch_up()

    async def catch_up(self) -> None:
        """Fold all progress there is in the log."""
        topic = self.log.config.progress_topic
        async with LogAdmin([self.log.broker]) as admin, LogReader([self.log.broker]) as reader:
            ends = await admin.end_offsets([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
            async for batch in reader.read({tp: (0, end) for tp, end in ends.items()}):
                self._fold(batch.records)

    def _fold(self, records: Sequence[object]) -> None:
        fold = ReplaysFold(
            partition_of=lambda key: 0, commands_topic=COMMANDS, progress_topic=self.log.config.progress_topic
        )
        folded = fold.fold(self, records, 0, 0)
        assert not folded.sends
        for key, value in folded.rows:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
