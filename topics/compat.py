"""What changed between two sets of JSON Schemas (`topics.schemas`), and whom each change breaks.

Two directions: new readers must read what is in the log (old events), and old readers, which ignore fields they do not
know, must read what is written now (new events). A change is compatible where it breaks neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Schema = Mapping[str, Any]

_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
_SAME: Final = ("pattern", "format")
_STEPS: Final = 32  # of nesting: schemas that refer to themselves end somewhere


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """`path`: kind and field. `breaks_new`: new readers, on old events; `breaks_old`: old readers, on new ones."""

    path: str
    what: str
    breaks_new: bool = False
    breaks_old: bool = False

    @property
    def compatible(self) -> bool:
        return not (self.breaks_new or self.breaks_old)


def changes(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> list[Change]:
    """Every change from one set to the other, by path."""
    found = [Change(name, "a kind of record is gone", breaks_new=True) for name in old.keys() - new.keys()]
    found += [Change(name, "a new kind of record") for name in new.keys() - old.keys()]
    for name in old.keys() & new.keys():
        found += _compared(name, _Side(old[name], old[name]), _Side(new[name], new[name]), 0)
    return sorted(set(found))


@dataclass(frozen=True, slots=True)
class _Side:
    """A piece of a schema, and the whole in which its references are looked up."""

    whole: Schema
    piece: Schema

    def opened(self) -> _Side:
        """What it refers to, with what is said beside the reference."""
        piece, whole = self.piece, self.whole
        while "$ref" in piece:
            found: Any = whole
            for step in piece["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            piece = {**found, **{name: value for name, value in piece.items() if name != "$ref"}}
        return _Side(whole, piece)

    def at(self, piece: Schema) -> _Side:
        return _Side(self.whole, piece).opened()

    def arms(self) -> dict[str, _Side]:
        """The alternatives by their type: one, or those of anyOf and oneOf."""
        several = self.piece.get("anyOf") or self.piece.get("oneOf")
        sides = [self.at(arm) for arm in several] if several else [self]
        return {_type(side.piece): side for side in sides}


def _type(piece: Schema) -> str:
    return str(piece.get("type") or ("enum" if "enum" in piece or "const" in piece else "anything"))


def _compared(path: str, old: _Side, new: _Side, depth: int) -> Iterator[Change]:
    old, new = old.opened(), new.opened()
    if depth > _STEPS:
        return
    was, now = old.arms(), new.arms()
    for gone in was.keys() - now.keys():
        yield Change(path, f"may not be {gone} any more", breaks_new=True)
    for more in now.keys() - was.keys():
        yield Change(path, f"may be {more} now", breaks_old=True)
    for kind in was.keys() & now.keys():
        yield from _of_a_type(path, was[kind], now[kind], depth)
    if old.piece.get("x-classification") != new.piece.get("x-classification"):
        yield _differs(path, "x-classification", old.piece, new.piece)


def _of_a_type(path: str, old: _Side, new: _Side, depth: int) -> Iterator[Change]:
    was, now = old.piece, new.piece
    for name in _SAME:
        if was.get(name) != now.get(name):
            yield _differs(path, name, was, now)
    yield from _bounds(path, was, now)
    before, after = _allowed(was), _allowed(now)
    if before != after:
        yield from _values(path, before, after)
    if "items" in was and "items" in now:
        yield from _compared(f"{path}[]", old.at(was["items"]), new.at(now["items"]), depth + 1)
    if "properties" in was and "properties" in now:
        yield from _fields(path, old, new, depth)


def _differs(path: str, name: str, was: Schema, now: Schema) -> Change:
    said = name.removeprefix("x-")
    return Change(path, f"{said} {was.get(name)} became {now.get(name)}", breaks_new=True, breaks_old=True)


def _bounds(path: str, was: Schema, now: Schema) -> Iterator[Change]:
    for names, sign in ((_LOWER, 1), (_UPPER, -1)):
        for name in names:
            before, after = was.get(name), now.get(name)
            if before != after:
                tighter = before is None or (after is not None and sign * after > sign * before)
                yield Change(path, f"{name} {before} became {after}", breaks_new=tighter, breaks_old=not tighter)


def _allowed(piece: Schema) -> list[Any] | None:
    """The values it may have; None: any."""
    return [piece["const"]] if "const" in piece else piece.get("enum")


def _values(path: str, before: list[Any] | None, after: list[Any] | None) -> Iterator[Change]:
    if before is None or after is None:
        yield Change(path, "a list of values came or went", breaks_new=before is None, breaks_old=after is None)
        return
    for value in before:
        if value not in after:
            yield Change(path, f"may not be {value!r} any more", breaks_new=True)
    for value in after:
        if value not in before:
            yield Change(path, f"may be {value!r} now", breaks_old=True)


def _fields(path: str, old: _Side, new: _Side, depth: int) -> Iterator[Change]:
    was, now = old.piece["properties"], new.piece["properties"]
    asked, asks = set(old.piece.get("required", ())), set(new.piece.get("required", ()))
    for name in was.keys() - now.keys():
        yield Change(f"{path}.{name}", "the field is gone", breaks_old=name in asked)
    for name in now.keys() - was.keys():
        yield Change(f"{path}.{name}", "a new field" + (", required" if name in asks else ""), breaks_new=name in asks)
    for name in was.keys() & now.keys():
        if (name in asked) != (name in asks):
            became = "required" if name in asks else "optional"
            yield Change(f"{path}.{name}", f"became {became}", breaks_new=name in asks, breaks_old=name in asked)
        yield from _compared(f"{path}.{name}", old.at(was[name]), new.at(now[name]), depth + 1)
