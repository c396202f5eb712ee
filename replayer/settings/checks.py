"""What must hold between settings. Each answer is a sentence that names the variable and what to do."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replayer.settings.table import Settings


def is_address(text: str) -> bool:
    """Whether it is a host:port that can be asked for."""
    found = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:/\s\[\]]+):([0-9]{1,5})", text)
    if found is None or not 0 < int(found[2]) < 2**16:
        return False
    labels = found[1].removesuffix(".").split(".")
    return found[1].startswith("[") or all(0 < len(label) < 64 for label in labels)


def problems(settings: Settings) -> list[str]:
    """Everything that does not go together; empty when all is well."""
    return [*_security(settings), *_web(settings), *_membership(settings), *_foreign(settings)]


def _security(settings: Settings) -> list[str]:
    protocol, problems = settings.security_protocol, []
    sasl = {
        "REPLAYER_SASL_MECHANISM": settings.sasl_mechanism,
        "REPLAYER_SASL_USERNAME": settings.sasl_username,
        "REPLAYER_SASL_PASSWORD": settings.sasl_password,
    }
    tls = {
        "REPLAYER_TLS_CA_FILE": settings.tls_ca_file,
        "REPLAYER_TLS_CERT_FILE": settings.tls_cert_file,
        "REPLAYER_TLS_KEY_FILE": settings.tls_key_file,
        "REPLAYER_TLS_KEY_PASSWORD": settings.tls_key_password,
    }
    if protocol.startswith("SASL"):
        problems += [f"{name} must be set for {protocol}." for name, value in sasl.items() if value is None]
    else:
        problems += _unused(sasl, protocol, "SASL_SSL (or SASL_PLAINTEXT)")
    if not protocol.endswith("SSL"):
        problems += _unused(tls, protocol, "SSL or SASL_SSL")
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        problems.append("REPLAYER_TLS_CERT_FILE and REPLAYER_TLS_KEY_FILE go together: set both or neither.")
    return problems


def _unused(values: Mapping[str, object], protocol: str, wanted: str) -> list[str]:
    return [
        f"{name} is set, but REPLAYER_SECURITY_PROTOCOL={protocol} does not use it: set {wanted}, or unset {name}."
        for name, value in values.items()
        if value is not None
    ]


def _foreign(settings: Settings) -> list[str]:
    names = [topic.topic for topic in settings.foreign_topics]
    if len(set(names)) == len(names):
        return []
    return ["REPLAYER_FOREIGN_TOPICS: a topic stands there twice; give its records several `events` instead."]


def _web(settings: Settings) -> list[str]:
    problems = []
    if not _loopback(settings.web_host) and not settings.tokens:
        problems.append(
            f"REPLAYER_WEB_HOST={settings.web_host} would let anyone who reaches it read timelines: "
            "set REPLAYER_TOKENS (or REPLAYER_TOKENS_FILE), or listen on 127.0.0.1."
        )
    if settings.web_host in ("0.0.0.0", "::") and settings.web_url is None:  # noqa: S104 - compared, not bound
        problems.append(
            f"REPLAYER_WEB_URL must be set with REPLAYER_WEB_HOST={settings.web_host}: "
            "other workers need one address to forward questions to, such as http://worker-0:6066."
        )
    names = [token.name for token in settings.tokens]
    if len(set(names)) != len(names):
        problems.append("REPLAYER_TOKENS: two tokens have the same name; give each caller its own.")
    return problems


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _membership(settings: Settings) -> list[str]:
    if settings.heartbeat_interval_s * 3 > settings.session_timeout_s:
        return [
            "REPLAYER_HEARTBEAT_INTERVAL_S must be at most a third of REPLAYER_SESSION_TIMEOUT_S, "
            "so that one lost heartbeat does not cost the partitions."
        ]
    return []
