"""Every command, exit code, endpoint and setting stands in the README as it is."""

from __future__ import annotations

import pytest

from tests.readme_tables import README, TABLES, written


@pytest.mark.parametrize("name", TABLES)
def test_the_readme_has_the_table_as_it_is(name: str) -> None:
    text = README.read_text("utf-8")
    assert TABLES[name]() in text, f"the table of {name} is out of date: run `make readme`"


def test_writing_it_again_changes_nothing() -> None:
    text = README.read_text("utf-8")
    assert written(text) == text
