"""The native library, loaded and checked, and its functions as Python has them. The GIL is released while they run."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from replayer.core.errors import ReplayerError
from replayer.core.unread import NUMBERS, Run, Unread
from replayer.native.schema import description
from replayer.native.sources import DIRECTORY, LIBRARY, fingerprint

Pairs = list[tuple[bytes, bytes]]


class _Given(ctypes.Structure):
    """Records of one partition, as native code is given them."""

    _fields_ = (
        ("data", ctypes.c_char_p),
        ("length", ctypes.c_size_t),
        ("rows", ctypes.c_void_p),
        ("rows_length", ctypes.c_size_t),
        ("topic", ctypes.c_char_p),
        ("topic_length", ctypes.c_size_t),
        ("partition", ctypes.c_int64),
    )


class NoLibrary(ReplayerError):
    """There is no native library to be used; the text says why, and what to do about it."""


class UnusableLibrary(NoLibrary):
    """There is one, but not for these sources, these events or this machine."""


class NotDone(Exception):
    """The library did not do what it was asked for: Python's fold has to."""


class _Bytes(ctypes.Structure):
    """Bytes of the library's, there until its next call."""

    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t))


_view = ctypes.pythonapi.PyMemoryView_FromMemory
_view.restype, _view.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
_READ = 0x100  # PyBUF_READ

_encode = msgspec.msgpack.Encoder().encode
_decode_heads = msgspec.msgpack.Decoder(list[tuple[int, bytes, bytes]]).decode
_decode_keys = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_pairs = msgspec.msgpack.Decoder(Pairs).decode
_decode_cuts = msgspec.msgpack.Decoder(list[tuple[int, int]]).decode
_decode_summary = msgspec.msgpack.Decoder(tuple[list[int], list[int]]).decode
_decode_shelved = msgspec.msgpack.Decoder(tuple[list[tuple[bytes, bytes | None]], tuple[int, int, int]]).decode
_decode_groups = msgspec.msgpack.Decoder(list[list[int]]).decode


class Library:
    """The library, for events of at most `max_record_bytes`.

    `sources`: what it must have been built of. Raises NoLibrary, UnusableLibrary.
    """

    def __init__(self, max_record_bytes: int, path: Path = LIBRARY, sources: Path = DIRECTORY) -> None:
        self._functions = functions = loaded(path, sources)
        try:
            told = description(max_record_bytes)
        except TypeError as exc:
            raise UnusableLibrary(f"{path.name} cannot be told of these events: {exc}") from exc
        self._schema = functions.replayer_schema(told, len(told))
        if not self._schema:
            raise UnusableLibrary(f"{path.name} does not know events like these: its rules miss a field they are about")

    def step(self, *, indexed: bool = False) -> Step:
        """`indexed`: one that notes what was used, for `Step.usage`."""
        return Step(self._functions, self._functions.replayer_step(self._schema, indexed))

    def shelving(self) -> Shelving:
        return Shelving(self._functions)

    def read(self, raw: bytes) -> tuple[bytes, bytes] | None:
        """Canonical content and projection of a record; None where it is not understood."""
        out = (_Bytes * 2)()
        if not self._functions.replayer_read(self._schema, raw, len(raw), out):
            return None
        found = [ctypes.string_at(one.data, one.length) for one in out]
        for one in out:
            self._functions.replayer_forget(ctypes.byref(one))
        return found[0], found[1]

    def index(
        self,
        data: bytes,
        start: int,
        end: int,
        records: int,
        offset: int,
        timestamp: int,
        *,
        appended: bool,
        before: int,
    ) -> bytes:
        """The index (`replayer.core.unread`) of a record batch's records, `data` from `start` to `end`.

        `offset` and `timestamp` are the batch's; `appended`: whether all have its timestamp; `before`: bytes of keys
        and values to count on from. Raises NotDone where these are not `records` sound records.
        """
        out = _Bytes()
        done = self._functions.replayer_index(
            data, len(data), start, end, offset, timestamp, appended, records, before, ctypes.byref(out)
        )
        if not done:
            raise NotDone
        try:
            return ctypes.string_at(out.data, out.length)
        finally:
            self._functions.replayer_forget(ctypes.byref(out))

    def index_on(self, data: bytes, at: int) -> tuple[bytes, memoryview]:
        """One index of the record batches of a fetch, from the one that begins at `at` on; and of each, in threes,
        where it begins and which of the records are its own, from and to. As far as their timestamps are of
        one kind; without those that are packed or unsound. Raises NotDone.
        """
        out = (_Bytes * 2)()
        if not self._functions.replayer_index_on(data, len(data), at, out):
            raise NotDone
        try:
            index, table = (ctypes.string_at(one.data, one.length) for one in out)
            return index, memoryview(table).cast("q")
        finally:
            for one in out:
                self._functions.replayer_forget(ctypes.byref(one))

    def framed(self, rows: Sequence[tuple[bytes, bytes | None]], limit: int) -> list[tuple[bytearray, int]]:
        """Kafka's record batches of at most `limit` bytes and how many rows are in each; their headers are all zeros.

        A row that is larger is alone in one. Raises NotDone.
        """
        told, out = _encode(rows), (_Bytes * 2)()
        if not self._functions.replayer_frame(told, len(told), limit, out):
            raise NotDone
        try:
            batches, start, found = _seen(out[0]), 0, []
            for records, length in _decode_cuts(_seen(out[1])):
                found.append((bytearray(batches[start : start + length]), records))
                start += length
            return found
        finally:
            for one in out:
                self._functions.replayer_forget(ctypes.byref(one))

    def sha256(self, data: bytes, *, portable: bool = False) -> bytes:
        out = ctypes.create_string_buffer(32)
        self._functions.replayer_sha256(data, len(data), portable, out)
        return out.raw


class Step:
    """One step under way: `load`, then `parse` and `fold` in turns, a piece of the records at a time. To be used as a
    context.
    """

    def __init__(self, functions: Any, handle: int) -> None:
        self._functions, self._handle = functions, handle
        self._asked, self._answered = (_Bytes * 2)(), (_Bytes * 6)()
        self._held: object = None  # what native code points to

    def __enter__(self) -> Step:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._functions.replayer_end(self._handle)

    def load(self, records: Unread) -> int:
        """Take the records of the step; answers how many have a key. Raises NotDone."""
        given, self._held = _lent(records)
        keyed = ctypes.c_size_t()
        if not self._functions.replayer_load(self._handle, given, len(given), ctypes.byref(keyed)):
            raise NotDone
        return keyed.value

    def parse(self, most: int) -> tuple[list[tuple[int, bytes, bytes]], list[bytes]]:
        """The heads to look up for the next `most` records, each with the number of its group and its records' key; and
        the other keys. Raises NotDone.
        """
        if not self._functions.replayer_parse(self._handle, most, self._asked):
            raise NotDone
        heads, keys = map(_seen, self._asked)
        return _decode_heads(heads), _decode_keys(keys)

    def fold(self, known: bytes) -> tuple[list[Pairs], list[int], list[int]]:
        """Rows of events, implied and noted identities, decisions, heads; the counts; of an indexed step, which rows of
        events `usage` says nothing of.

        Of what was parsed last. `known`: [groups that are Python's, values of the keys asked for]. Raises NotDone.
        """
        if not self._functions.replayer_fold(self._handle, known, len(known), self._answered):
            raise NotDone
        *rows, summary = map(_seen, self._answered)
        return list(map(_decode_pairs, rows)), *_decode_summary(summary)

    def left(self) -> list[list[int]]:
        """The records that are Python's, by their numbers in the step, those of one key together. Raises NotDone."""
        out = _Bytes()
        if not self._functions.replayer_leave(self._handle, ctypes.byref(out)):
            raise NotDone
        return _decode_groups(_seen(out))

    def usage(self) -> Pairs:
        """Keys and values of `template-usage`: what all that was folded has used. Raises NotDone."""
        out = _Bytes()
        if not self._functions.replayer_tell(self._handle, ctypes.byref(out)):
            raise NotDone
        return _decode_pairs(_seen(out))


class Shelving:
    """One step of the index under way: `load`, then `parse` and `fold` in turns, then `finish`. A context."""

    def __init__(self, functions: Any) -> None:
        self._functions, self._handle = functions, functions.replayer_shelve()
        self._out = _Bytes()
        self._held: object = None

    def __enter__(self) -> Shelving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._functions.replayer_shelved(self._handle)

    def load(self, records: Unread) -> list[bytes]:
        """Take the records of the step; answers with their shelves, each once. Raises NotDone."""
        given, self._held = _lent(records)
        self._do("load", given, len(given), ctypes.byref(self._out), ctypes.byref(ctypes.c_size_t()))
        return _decode_keys(_seen(self._out))

    def parse(self, most: int) -> tuple[list[bytes], int]:
        """The keys to look up for the next records, until they say so much; and how many these are. Raises NotDone."""
        taken = ctypes.c_size_t()
        self._do("parse", most, ctypes.byref(self._out), ctypes.byref(taken))
        return _decode_keys(_seen(self._out)), taken.value

    def fold(self, values: bytes) -> None:
        """`values`: of the keys asked for last. Raises NotDone."""
        self._do("fold", values, len(values))

    def finish(self) -> tuple[list[tuple[bytes, bytes | None]], tuple[int, int, int]]:
        """Rows in the order of the changelog; records folded and folded before, uses known before. Raises NotDone."""
        self._do("finish", ctypes.byref(self._out))
        return _decode_shelved(_seen(self._out))

    def _do(self, what: str, *arguments: Any) -> None:
        if not getattr(self._functions, f"replayer_shelve_{what}")(self._handle, *arguments):
            raise NotDone


def _lent(records: Unread) -> tuple[Any, object]:
    """Records as native code is given them, and what must live for as long as it has them."""
    topics = [run.part.topic.encode() for run in records.runs]
    return (_Given * len(topics))(*map(_given, records.runs, topics)), (records, topics)


def _given(run: Run, topic: bytes) -> _Given:
    part = run.part
    first = ctypes.cast(ctypes.c_char_p(part.index_bytes), ctypes.c_void_p).value or 0
    row = NUMBERS * 8
    return _Given(
        part.data,
        len(part.data),
        first + run.start * row,
        (run.end - run.start) * row,
        topic,
        len(topic),
        part.partition,
    )


def _seen(found: _Bytes) -> memoryview:
    return _view(found.data, found.length, _READ)  # type: ignore[no-any-return] # typed by restype


def loaded(path: Path = LIBRARY, sources: Path = DIRECTORY) -> Any:
    """The library's functions. Raises as `Library` does."""
    if not path.exists():
        raise NoLibrary(f"there is no {path.name}: `python -m replayer.native.build` makes it, with rustc")
    try:
        functions = ctypes.CDLL(str(path))
        functions.replayer_sources.argtypes = (ctypes.c_char_p,)
    except (OSError, AttributeError) as exc:
        raise UnusableLibrary(
            f"{path.name} cannot be loaded ({exc.__class__.__name__}): build it on this machine"
        ) from exc
    built_of = ctypes.create_string_buffer(32)
    functions.replayer_sources(built_of)
    if built_of.raw != fingerprint(sources):
        raise UnusableLibrary(
            f"{path.name} was built of other sources than those beside it: say `python -m replayer.native.build`"
        )
    pointer, size, data, out = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.POINTER(_Bytes)
    number = ctypes.c_int64
    for name, result, arguments in (
        ("schema", pointer, (data, size)),
        ("read", ctypes.c_int, (pointer, data, size, out)),
        ("frame", ctypes.c_int, (data, size, size, out)),
        ("forget", None, (out,)),
        ("sha256", ctypes.c_int, (data, size, ctypes.c_int, data)),
        ("step", pointer, (pointer, ctypes.c_int)),
        ("end", None, (pointer,)),
        ("index", ctypes.c_int, (data, size, size, size, number, number, ctypes.c_int, size, number, out)),
        ("index_on", ctypes.c_int, (data, size, size, out)),
        ("load", ctypes.c_int, (pointer, ctypes.POINTER(_Given), size, ctypes.POINTER(size))),
        ("parse", ctypes.c_int, (pointer, size, out)),
        ("fold", ctypes.c_int, (pointer, data, size, out)),
        ("leave", ctypes.c_int, (pointer, out)),
        ("shelve", pointer, ()),
        ("shelved", None, (pointer,)),
        ("shelve_load", ctypes.c_int, (pointer, ctypes.POINTER(_Given), size, out, ctypes.POINTER(size))),
        ("shelve_parse", ctypes.c_int, (pointer, size, out, ctypes.POINTER(size))),
        ("shelve_fold", ctypes.c_int, (pointer, data, size)),
        ("shelve_finish", ctypes.c_int, (pointer, out)),
        ("tell", ctypes.c_int, (pointer, out)),
    ):
        function = getattr(functions, f"replayer_{name}")
        function.restype, function.argtypes = result, arguments
    return functions
