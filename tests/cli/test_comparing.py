"""schemas check: a compatible change is told from a breaking one, and the exit code says which it was."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from replayer.cli import main
from topics.schemas import schemas

NAME = "policy.evaluated"


def written(path: Path, change: Any = None) -> str:
    told = copy.deepcopy(schemas())
    if change is not None:
        change(told[NAME]["$defs"]["PolicyEvaluated"])
    path.write_text(json.dumps(told))
    return str(path)


def test_nothing_has_changed_since_this_release(tmp_path, capsys):
    same = written(tmp_path / "same.json")
    assert main(["schemas", "check", same]) == 0
    assert main(["schemas", "check", same, same]) == 0
    assert capsys.readouterr().out.splitlines() == ["Nothing has changed."] * 2


def test_a_field_more_is_compatible(tmp_path, capsys):
    old = written(tmp_path / "old.json", lambda data: data["properties"].pop("explanation"))
    assert main(["schemas", "check", old]) == 0
    said = capsys.readouterr().out
    assert "policy.evaluated.data.explanation" in said
    assert "a new field" in said
    assert "1 changes, 0 of them break somebody." in said


def test_a_field_that_must_be_there_breaks_new_readers(tmp_path, capsys):
    old = written(tmp_path / "old.json", lambda data: data["required"].remove("outcome"))
    assert main(["schemas", "check", old, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "compatible": False,
        "changes": [
            {
                "path": "policy.evaluated.data.outcome",
                "what": "became required",
                "breaks_new_readers": True,
                "breaks_old_readers": False,
            }
        ],
    }
    assert main(["schemas", "check", old]) == 1
    assert "new readers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 3, "cannot be read"),
        (b"{", 2, "is not JSON"),
        (b"[]", 2, "holds no schemas by name"),
        (b'{"policy.evaluated": 3}', 2, "holds no schemas by name"),
        (b'{"policy.evaluated": {"$ref": "#/nowhere"}}', 2, "holds what is no JSON Schema"),
        (b'{"policy.evaluated": {"type": "object", "properties": [1]}}', 2, "holds what is no JSON Schema"),
    ],
)
def test_what_holds_no_schemas_is_refused(tmp_path, capsys, content, code, said):
    path = tmp_path / "old.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["schemas", "check", str(path)]) == code
    told = capsys.readouterr().err
    assert said in told
    assert "bug" not in told


def test_schemas_by_name_are_still_printed(capsys):
    assert main(["schemas", NAME]) == 0
    assert json.loads(capsys.readouterr().out)["$id"].startswith("urn:replayer:policy.evaluated")
    assert main(["schemas", "nobody.knows"]) == 3
