"""Who is asking, and what they may do.

Roles are sets of rights, not ranks: an investigator may start replays but not read raw content, a content reader the
other way round; both are readers, and an admin may do everything. Tokens are configured by their SHA-256 only.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from replayer.serve.problems import Problem
from replayer.settings import Settings, SettingsError, Token


class Role(StrEnum):
    """What a token stands for, and what an operation needs."""

    READER = "reader"
    INVESTIGATOR = "investigator"
    CONTENT = "content"
    ADMIN = "admin"


RIGHTS: Mapping[Role, frozenset[Role]] = {
    Role.READER: frozenset({Role.READER}),
    Role.INVESTIGATOR: frozenset({Role.READER, Role.INVESTIGATOR}),
    Role.CONTENT: frozenset({Role.READER, Role.CONTENT}),
    Role.ADMIN: frozenset(Role),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a name for the rate limit and the audit, and a role."""

    name: str
    role: Role

    def may(self, needed: Role) -> bool:
        return needed in RIGHTS[self.role]


class Tokens:
    """The configured tokens. None configured: the server is open, which `check_open` allows on loopback only."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._known = tuple(
            (bytes.fromhex(token.sha256), Caller(f"token:{token.name}", Role(token.role))) for token in tokens
        )

    @property
    def open(self) -> bool:
        return not self._known

    def caller(self, authorization: str) -> Caller | None:
        """Whom the header's value names; None where it names nobody. Takes the same time for every wrong token."""
        scheme, _, presented = authorization.partition(" ")
        if scheme.lower() != "bearer" or not presented:
            return None
        digest = hashlib.sha256(presented.strip().encode("utf-8", "surrogateescape")).digest()
        found: Caller | None = None
        for known, caller in self._known:  # all of them, always: where it matches must not show in the time
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host` (or can have meant it)."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def check_open(settings: Settings) -> None:
    """Raises SettingsError where everybody on a network could read everything, however the settings were made."""
    if not settings.tokens and not is_loopback(settings.web_host):
        raise SettingsError(
            f"Without tokens the web views listen on loopback only, not on {settings.web_host}: "
            "set REPLAYER_TOKENS (or REPLAYER_TOKENS_FILE), or REPLAYER_WEB_HOST=127.0.0.1."
        )


def unauthorized(presented: bool) -> Problem:
    """401: no token, or one that nobody configured; the two differ in what they tell the caller to do."""
    if presented:
        return Problem(
            401,
            "unauthorized",
            "The token is not one of those configured.",
            headers={"WWW-Authenticate": 'Bearer realm="replayer", error="invalid_token"'},
        )
    return Problem(
        401,
        "unauthorized",
        "Send a token: Authorization: Bearer <token>.",
        headers={"WWW-Authenticate": 'Bearer realm="replayer"'},
    )


def forbidden(needed: Role) -> Problem:
    return Problem(
        403,
        "forbidden",
        f"This needs the role {needed.value} (or admin).",
        headers={"WWW-Authenticate": f'Bearer realm="replayer", error="insufficient_scope", scope="{needed.value}"'},
    )
