"""Record batches that come framed: byte for byte those that aiokafka would have made of the same rows."""

from __future__ import annotations

from unittest import mock

from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st

from replayer.engine import framed
from replayer.engine.framed import FramedBatch
from tests.native.agreement import library

Row = tuple[bytes, bytes | None]

NOW_S = 1_700_000_000.123
LEAST = 100  # of bytes: no batch is smaller

_BYTES = st.binary(max_size=40) | st.integers(0, 9000).map(bytes)
_rows = st.lists(st.tuples(_BYTES, st.none() | _BYTES), max_size=200)
_producers = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1))


def batches(rows: list[Row], limit: int, *, transactional: bool) -> list[FramedBatch]:
    with mock.patch.object(framed.time, "time", return_value=NOW_S):
        return [FramedBatch(*one, transactional=transactional) for one in library().framed(rows, limit)]


@given(_rows, st.booleans(), _producers)
@example([(b"", b""), (b"k", None), *[(b"%d" % n, bytes(n)) for n in (63, 64, 8191, 8192, 1 << 20)]], True, (7, 1, 2))
def test_one_batch_is_aiokafka_s_byte_for_byte(
    rows: list[Row], transactional: bool, producer: tuple[int, int, int]
) -> None:
    theirs = BatchBuilder(1 << 30, 0, is_transactional=transactional)
    for key, value in rows:
        theirs.append(timestamp=int(NOW_S * 1000), key=key, value=value)
    ours = batches(rows, 1 << 30, transactional=transactional)
    assert len(ours) == bool(rows)
    for batch in ours:
        assert (batch.record_count(), batch.closed(), batch.append(key=b"k", value=b"")) == (len(rows), True, None)
        for each in (batch, theirs):
            each._set_producer_state(*producer)
        assert bytes(batch._build()) == bytes(theirs._build())
        assert batch.size() == theirs.size()


@given(_rows, st.integers(LEAST, 30_000))
def test_rows_keep_their_order_in_as_few_batches_as_the_limit_allows(rows: list[Row], limit: int) -> None:
    found: list[Row] = []
    sizes: list[tuple[int, int]] = []
    for batch in batches(rows, limit, transactional=False):
        raw = bytes(batch._build())
        read = DefaultRecordBatch(raw)
        assert read.validate_crc()
        records = list(read)
        assert len(records) == batch.record_count()
        assert len(raw) <= limit or len(records) == 1
        if sizes:  # its first would not have fitted into the one before
            assert sizes[-1][0] + _bytes_of((records[0].key, records[0].value), sizes[-1][1]) > limit
        sizes.append((len(raw), len(records)))
        found.extend((record.key, record.value) for record in records)
    assert found == rows


def _bytes_of(row: Row, number: int) -> int:
    """In a batch, as its record of this number."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 30)
    empty = builder.size()
    builder.append(number, 0, *row, [])
    return int(builder.size() - empty)


def test_a_retry_under_another_epoch_is_headed_anew() -> None:
    (batch,) = batches([(b"k", b"v")], 1000, transactional=True)
    batch._set_producer_state(1, 0, 0)
    first = bytes(batch._build())
    assert bytes(batch._build()) == first
    batch._set_producer_state(1, 1, 5)
    again = DefaultRecordBatch(bytes(batch._build()))
    assert (again.producer_id, again.producer_epoch, again.base_sequence) == (1, 1, 5)
    assert again.validate_crc()
