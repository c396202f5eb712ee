"""The headers of a dead letter as a model: what `replayer schemas` prints and a reader of `dead-letters` may rely on.

Apart from `topics.deadletter`, which the hot path imports. Header values are text, numbers are in decimal.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from topics import deadletter
from topics.classification import INTERNAL, PUBLIC
from topics.commands import TopicName
from topics.fields import Model

LETTER_VERSION: Final = 1

Number = Annotated[str, Field(pattern=r"^-?\d{1,19}$")]


class DeadLetterHeaders(Model):
    """A dead letter's headers. Its key and value are the original record's, byte for byte.

    What was too large to carry stays in its topic; `replayer-pointer` then says where. The original's own headers stand
    beside these; a name that begins with `replayer-` or `original-` has gained `original-` before it.
    """

    id: Annotated[
        Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")],
        INTERNAL,
        Field(alias=deadletter.ID, description="the same for the same source position, however often it is folded"),
    ]
    reason: Annotated[
        Literal["undecodable", "invalid", "unmapped", "oversized", "misrouted", "poison"],
        PUBLIC,
        Field(alias=deadletter.REASON),
    ]
    error_class: Annotated[str, PUBLIC, Field(alias=deadletter.ERROR_CLASS)]
    detail: Annotated[
        str, INTERNAL, Field(alias=deadletter.DETAIL, description="the fields and rules at fault, never a value")
    ]
    topic: Annotated[TopicName, INTERNAL, Field(alias=deadletter.TOPIC)]
    partition: Annotated[Number, INTERNAL, Field(alias=deadletter.PARTITION)]
    offset: Annotated[Number, INTERNAL, Field(alias=deadletter.OFFSET)]
    timestamp_ms: Annotated[
        Number, INTERNAL, Field(alias=deadletter.TIMESTAMP, description="the original record's, -1 where it has none")
    ]
    failed_at_ms: Annotated[Number, INTERNAL, Field(alias=deadletter.FAILED_AT)]
    size_bytes: Annotated[Number, INTERNAL, Field(alias=deadletter.SIZE, description="of the original value")]
    pointer: Annotated[
        str | None,
        INTERNAL,
        Field(alias=deadletter.POINTER, description="topic/partition/offset, where not all of the record is here"),
    ] = None
    headers_dropped: Annotated[
        Number | None,
        INTERNAL,
        Field(alias=deadletter.HEADERS_DROPPED, description="how many original headers are not here"),
    ] = None
