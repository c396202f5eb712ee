"""The table: every setting, its type, its default, its help. Units are in the names."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from replayer.settings import checks
from replayer.settings.errors import SettingsError
from replayer.settings.foreign import ForeignTopic
from replayer.variables import PREFIX

Role = Literal["reader", "investigator", "content", "admin"]


class Token(BaseModel):
    """Who may ask: only the token's hash is ever stored. `printf %s "$TOKEN" | sha256sum` makes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    role: Role
    sha256: str

    @field_validator("sha256")
    @classmethod
    def _a_hash(cls, value: str) -> str:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ValueError('sha256 must be 64 hexadecimal digits: printf %s "$TOKEN" | sha256sum')
        return value.lower()


class Settings(BaseSettings):
    """Frozen. `Settings(...)` reads neither environment nor files: `load` does."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
    )

    # The cluster
    broker: str | None = Field(
        None,
        description=(
            "Kafka brokers to start from, host:port, separated by commas. Required for every command that "
            "talks to a cluster"
        ),
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How every client talks to the brokers"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism, required by the SASL protocols"
    )
    sasl_username: str | None = Field(None, description="SASL user")
    sasl_password: SecretStr | None = Field(None, description="SASL password")
    tls_ca_file: Path | None = Field(None, description="PEM file of the authorities to trust; unset: the system's")
    tls_cert_file: Path | None = Field(None, description="PEM file of the client certificate, for mutual TLS")
    tls_key_file: Path | None = Field(None, description="PEM file of the client certificate's key")
    tls_key_password: SecretStr | None = Field(None, description="Password of the client certificate's key")

    # Topics
    partitions: int = Field(
        4,
        ge=1,
        le=10_000,
        description="Partitions of every topic `replayer topics create` makes; sources must all have the same number",
    )
    replication_factor: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Replicas of every topic created; unset: the cluster's own default.replication.factor",
    )
    foreign_topics: tuple[ForeignTopic, ...] = Field(
        (),
        description=(
            "Topics keyed otherwise than by workflow ID, with other partition counts, or with JSON of others, as JSON: "
            '[{"topic": "...", "partitions": 12, "events": [{"when": "...", "fields": {...}}]}]. It is all sent on '
            "to rekeyed-events"
        ),
    )
    foreign_ahead_records: int = Field(
        1_000_000,
        ge=1,
        description="Records of foreign topics sent on and not in their timelines yet, before no more are sent on",
    )
    max_record_bytes: int = Field(
        1 << 20,
        ge=1024,
        le=1 << 20,
        description=(
            "A larger record becomes a dead letter that points at it. At most 1 MiB, which every topic of replayer "
            "has room for: larger content belongs in the artefact store"
        ),
    )
    delete_retention_h: float = Field(
        24.0,
        gt=0,
        description=(
            "How long changelogs keep a deletion; older local state is rebuilt, so that nothing erased comes back"
        ),
    )

    # This process
    app_id: str = Field(
        "replayer",
        pattern=r"^[a-zA-Z0-9._-]{1,128}$",
        description=(
            "Consumer group, and the prefix of changelog topics and transactional ids. Another id is "
            "another, empty set of tables"
        ),
    )
    instance_id: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9._-]{1,128}$",
        description=(
            "This worker's name, the same after a restart: static membership and the data directory "
            "depend on it. Unset: host name and web port"
        ),
    )
    data_dir: Path = Field(
        Path(".data"), description="Where local state is kept; each worker has a directory of its own in it"
    )
    artefact_dir: Path = Field(
        Path(".data/artefacts"), description="Where message texts and other large content are kept, by SHA-256"
    )
    guarantee: Literal["exactly_once", "at_least_once"] = Field(
        "exactly_once",
        description="at_least_once shows an event sooner; after a zombie worker its timeline heads may be wrong",
    )
    fold: Literal["auto", "python"] = Field(
        "auto",
        description=(
            "auto folds events with native code where its library was built, which the log says at the start; python "
            "never does. Both make the same rows"
        ),
    )
    index: bool = Field(
        True,
        description=(
            "Whether what events use (prompt templates, models, tools, documents) and what policies say is indexed. "
            "Without, a worker catches up faster, and the views over the index know only what was indexed before"
        ),
    )
    stop_grace_s: float = Field(
        20.0, gt=0, description="How long a stopping process may take to finish what it has begun"
    )

    # The engine
    batch_max_records: int = Field(
        4000, ge=1, le=100_000, description="Most records in one batch, which is one transaction per partition"
    )
    batch_max_bytes: int = Field(
        4 << 20, ge=1024, description="Most bytes in one batch, in one fetch of a partition, and waiting for it"
    )
    buffer_batches: int = Field(
        8, ge=1, le=1000, description="Batches waiting per source partition before fetching of it pauses"
    )
    rocksdb_memory_mb: int = Field(256, ge=16, description="Memory of all RocksDB caches and write buffers together")
    standby_replicas: int = Field(0, ge=0, le=10, description="Workers that keep a warm copy of each table partition")
    transaction_timeout_s: float = Field(
        60.0, ge=1, le=900, description="The broker aborts a transaction open for longer"
    )
    commit_interval_s: float = Field(
        1.0, gt=0, le=60, description="at_least_once: how often source offsets are committed"
    )
    session_timeout_s: float = Field(30.0, ge=1, le=1800, description="A worker silent for longer loses its partitions")
    heartbeat_interval_s: float = Field(
        3.0, gt=0, description="Heartbeats to the group's coordinator; at most a third of the session timeout"
    )
    rebalance_timeout_s: float = Field(60.0, ge=1, description="How long a worker may take to hand over its partitions")

    # Web
    web_host: str = Field(
        "127.0.0.1", description="Address the web views listen on; anything but loopback needs tokens"
    )
    web_port: int = Field(6066, ge=1, le=65535, description="Port of the web views")
    web_url: str | None = Field(
        None,
        pattern=r"^https?://[^/\s]+$",
        description=(
            "Base URL at which other workers reach this one (they forward questions). Unset: made from "
            "web_host and web_port; required when web_host is not one address"
        ),
    )
    tokens: tuple[Token, ...] = Field(
        (),
        description=(
            'Who may ask, as JSON: [{"name": "ann", "role": "reader|investigator|content|admin", '
            '"sha256": "..."}]. None: no authentication, loopback only'
        ),
    )
    tokens_file: Path | None = Field(None, description="A file with the same JSON, read at start and added to tokens")
    rate_limit_per_s: int = Field(
        50,
        ge=1,
        description=(
            "Requests a second that one caller (a token; without one, an address) may make of one worker. Each worker "
            "counts for itself; a request that is forwarded counts at both"
        ),
    )
    default_tenant: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Tenant of a workflow that is asked for without one. Unset: such a question is refused",
    )
    list_scan_budget: int = Field(
        20_000,
        ge=100,
        description="Rows a worker looks at for one page of workflows or events; the cursor goes on where it stopped",
    )
    forward_timeout_s: float = Field(
        5.0, gt=0, le=300, description="How long to wait for the worker that owns the asked workflow"
    )

    # Investigator
    investigator_max_concurrent: int = Field(
        2, ge=1, le=100, description="Replays an investigator runs at the same time"
    )
    investigator_batch_records: int = Field(
        10_000, ge=1, le=100_000, description="Most records between two checkpoints of a replay"
    )

    # Logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least important log line written"
    )
    log_format: Literal["auto", "json", "console"] = Field("auto", description="auto: console in a terminal, else JSON")

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)  # name -> where its value came from; see load

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # load() asks the others

    @field_validator("broker")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        if value is None:
            return None
        addresses = [address.strip() for address in value.split(",") if address.strip()]
        if not addresses or not all(map(checks.is_address, addresses)):
            raise ValueError("give each broker as host:port, separated by commas, such as kafka-1:9092,kafka-2:9092")
        return ",".join(addresses)

    @model_validator(mode="after")
    def _together(self) -> Self:
        found = checks.problems(self)
        if found:
            raise SettingsError(*found)
        return self

    @property
    def brokers(self) -> list[str]:
        """The broker addresses. Raises SettingsError where none is set: there is no default to guess."""
        if self.broker is None:
            raise SettingsError(
                "REPLAYER_BROKER is not set: name your Kafka brokers (REPLAYER_BROKER=host:9092), "
                "or start a local one with `replayer broker --port 9092` and set REPLAYER_BROKER=127.0.0.1:9092."
            )
        return self.broker.split(",")

    @property
    def instance(self) -> str:
        """instance_id, or host name and web port: stable over restarts, distinct on one host."""
        return self.instance_id or f"{re.sub(r'[^a-zA-Z0-9._-]', '-', socket.gethostname())}-{self.web_port}"

    @property
    def url(self) -> str:
        """web_url, or the address the web views listen on."""
        host = f"[{self.web_host}]" if ":" in self.web_host else self.web_host
        return self.web_url or f"http://{host}:{self.web_port}"

    @property
    def instance_dir(self) -> Path:
        """Local state of this worker alone."""
        return self.data_dir / self.app_id / self.instance

    @property
    def investigator_app_id(self) -> str:
        """The investigator is an app of its own: its consumer group must not be the workers'."""
        return f"{self.app_id}-investigator"
