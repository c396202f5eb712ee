"""The Faust app is what the settings say: Faust's own environment variables have no say."""

from __future__ import annotations

from pathlib import Path

import pytest
from faust.types.settings.settings import Settings

from tests.engine.stores import engine_at

# What Faust would take: an open door, another cluster, pages that show tables. Kubernetes sets WEB_PORT by itself where
# a service is called "web".
VARIABLES = {
    "WEB_BIND": "0.0.0.0",
    "WEB_PORT": "7777",
    "BROKER_URL": "kafka://elsewhere:1",
    "PROCESSING_GUARANTEE": "exactly_once",
    "STREAM_BUFFER_MAXSIZE": "3",
    "APP_WEB_TABLES_ENABLED": "1",
}


@pytest.mark.parametrize("variables", [VARIABLES, {"APP_ENV_PREFIX": "MINE_", "MINE_WEB_BIND": "0.0.0.0"}])
def test_faust_reads_no_environment(variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = engine_at(tmp_path / "a").app.conf
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    told = engine_at(tmp_path / "a").app.conf
    named = [name for name, known in Settings.SETTINGS.items() if known.env_name and not known.version_deprecated]
    assert len(named) > 50
    assert {name: getattr(told, name) for name in named} == {name: getattr(plain, name) for name in named}
    assert told.web_bind == "127.0.0.1"
