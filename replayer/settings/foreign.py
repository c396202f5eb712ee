"""Topics that are keyed otherwise, are dealt out otherwise, or hold JSON of others: declared, never guessed."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from topics.catalogue import REKEYED_EVENTS, TOPIC_NAME, TOPICS
from topics.mapping import BadRule, Rules


class Events(BaseModel):
    """Rules for one kind of record: for each field of the event a JMESPath expression (topics.mapping)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    when: str | None = Field(None, max_length=1000)
    fields: dict[str, str]

    @field_validator("fields")
    @classmethod
    def _bounded(cls, value: dict[str, str]) -> dict[str, str]:
        for name, said in value.items():
            if len(said) > 1000:
                raise ValueError(f"{name}: a rule has at most 1000 characters")
        return value

    @model_validator(mode="after")
    def _work(self) -> Self:
        try:
            self.rules()
        except BadRule as exc:
            raise ValueError(str(exc)) from exc
        return self

    def rules(self) -> Rules:
        return Rules(self.fields, self.when)


class ForeignTopic(BaseModel):
    """A topic that is read besides replayer's own. Without `events` its values are events of replayer's already.

    `partitions`: as many as it has, or had when it was declared; those it is given later are taken up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str = Field(pattern=TOPIC_NAME)
    partitions: int = Field(ge=1, le=10_000)
    events: tuple[Events, ...] = Field((), max_length=50)

    @field_validator("topic")
    @classmethod
    def _not_ours(cls, value: str) -> str:
        if value in {topic.name for topic in (*TOPICS, REKEYED_EVENTS)}:  # the latter would be sent on to itself
            raise ValueError(f"{value} is a topic of replayer's own, which is keyed as it must be")
        return value

    def __str__(self) -> str:
        kinds = f", {len(self.events)} mappings" if self.events else ""
        return f"{self.topic} ({self.partitions} partitions{kinds})"
