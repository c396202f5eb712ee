"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Broker = Annotated[
    str | None, Parameter(help="Kafka brokers, host:port with commas between [default: REPLAYER_BROKER]")
]
DataDir = Annotated[Path | None, Parameter(help="where local state is kept [default: REPLAYER_DATA_DIR]")]
WebPort = Annotated[int | None, Parameter(help="port of the web views [default: REPLAYER_WEB_PORT]")]
ArtefactDir = Annotated[Path | None, Parameter(help="where texts are stored by hash [default: REPLAYER_ARTEFACT_DIR]")]
Url = Annotated[str | None, Parameter(help="any worker's web views [default: REPLAYER_WEB_URL, or this host's port]")]
Json = Annotated[bool, Parameter(negative="", help="for programs")]
