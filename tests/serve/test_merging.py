"""Pages over many partitions: together they are the whole list, each item once, however little each part looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replayer.serve.merging import Key, Part, merge

KEYS = st.tuples(st.sampled_from(["a", "b", "ü"]), st.text(max_size=3))


def part(rows: list[Key], wanted: set[Key], after: Key | None, limit: int, budget: int) -> Part:
    """One partition read as the core reads it: in key order, at most `limit` matches and `budget` rows."""
    found: list[tuple[Key, str]] = []
    seen = [key for key in sorted(rows) if after is None or key > after]
    for looked, key in enumerate(seen, 1):
        if key in wanted:
            found.append((key, f"{key}"))
        if looked < len(seen) and (len(found) == limit or looked == budget):
            return Part(found, key)
    return Part(found, None)


@given(
    partitions=st.lists(st.sets(KEYS, max_size=12), min_size=1, max_size=5),
    limit=st.integers(1, 7),
    budgets=st.lists(st.integers(1, 4), min_size=5, max_size=5),
    chosen=st.sets(KEYS),
    all_wanted=st.booleans(),
    groups=st.lists(st.integers(0, 2), min_size=5, max_size=5),
)
def test_pages_are_the_list(
    partitions: list[set[Key]],
    limit: int,
    budgets: list[int],
    chosen: set[Key],
    all_wanted: bool,
    groups: list[int],
) -> None:
    once: dict[Key, int] = {}
    for number, keys in enumerate(partitions):
        for key in keys:
            once.setdefault(key, number)  # a workflow lives in one partition
    rows = [[key for key, at in once.items() if at == number] for number in range(len(partitions))]
    wanted = set(once) if all_wanted else chosen
    served: list[Key] = []
    after: Key | None = None
    for _page in range(len(once) + 1):
        parts = [part(keys, wanted, after, limit, budgets[n]) for n, keys in enumerate(rows)]
        # as the workers do it: each merges its own partitions, one merges the workers
        workers = [[p for n, p in enumerate(parts) if groups[n] == worker] for worker in range(3)]
        merged = merge([merge(mine, limit) for mine in workers if mine], limit)
        assert len(merged.found) <= limit
        assert all(key <= merged.upto for key, _ in merged.found) if merged.upto else True
        assert merged.upto is None or after is None or merged.upto > after, "no progress"
        served += [key for key, _ in merged.found]
        after = merged.upto
        if after is None:
            break
    assert after is None, "more pages than rows"
    assert served == sorted(key for key in once if key in wanted)


def test_nothing_unseen_is_jumped_over() -> None:
    slow = Part([(("a", "1"), 1)], ("a", "2"))
    fast = Part([(("a", "3"), 3)], None)
    assert merge([slow, fast], 10) == Part([(("a", "1"), 1)], ("a", "2"))


def test_code_points_order_as_utf8_bytes_do() -> None:
    """Rows are ordered by bytes, pages by strings: both orders must be one, also beyond the basic plane."""
    names = ["\ufffd", "\U0001f600", "z", "\u0101", "a b", "", "a"]
    assert sorted(names) == sorted(names, key=lambda name: name.encode())
