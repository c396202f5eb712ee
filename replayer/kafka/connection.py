"""Settings -> what every client is made with; and whether a broker is there at all."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from replayer.kafka.errors import AccessRefused, BrokerUnreachable
from replayer.settings import Settings, SettingsError

log = structlog.get_logger(__name__)

_REFUSALS = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


def client_arguments(settings: Settings) -> dict[str, Any]:
    """Security keyword arguments of AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient and AIOKafkaClient alike.

    Raises SettingsError where a TLS file cannot be used.
    """
    arguments: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.sasl_username
        arguments["sasl_plain_password"] = _password(settings)
    return arguments


def faust_credentials(settings: Settings) -> Any:
    """The same for Faust (`broker_credentials`): a faust.auth.Credentials, or None for PLAINTEXT."""
    from faust.auth import SASLCredentials, SSLCredentials

    if settings.security_protocol.startswith("SASL"):
        return SASLCredentials(
            mechanism=settings.sasl_mechanism,
            username=settings.sasl_username,
            password=_password(settings),
            ssl_context=ssl_context(settings) if settings.security_protocol == "SASL_SSL" else None,
        )
    return SSLCredentials(ssl_context(settings)) if settings.security_protocol == "SSL" else None


def ssl_context(settings: Settings) -> ssl.SSLContext:
    """Verifies the broker's certificate and host name; presents ours where one is set. Raises SettingsError."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
    except OSError as error:  # ssl.SSLError too
        raise _unusable("REPLAYER_TLS_CA_FILE", settings.tls_ca_file, error) from error
    if settings.tls_cert_file is not None:
        secret = settings.tls_key_password
        try:
            # A function, so that OpenSSL does not ask at the terminal where no password is set.
            context.load_cert_chain(
                settings.tls_cert_file, settings.tls_key_file, lambda: secret.get_secret_value() if secret else ""
            )
        except OSError as error:
            raise _unusable("REPLAYER_TLS_CERT_FILE or REPLAYER_TLS_KEY_FILE", settings.tls_cert_file, error) from error
    return context


async def probe(brokers: Sequence[str], client: Mapping[str, Any], timeout_s: float) -> None:
    """Return once one of the brokers answers a metadata request.

    Raises BrokerUnreachable (with the reason of each address) or AccessRefused.
    """
    reasons = []
    for address in brokers:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(timeout_s):
                live = await _brokers_known_to(host.strip("[]"), int(port), client, timeout_s)
        except _REFUSALS as error:
            raise AccessRefused(
                f"The broker at {address} refuses our credentials ({type(error).__name__}): "
                "check REPLAYER_SASL_MECHANISM, REPLAYER_SASL_USERNAME and REPLAYER_SASL_PASSWORD."
            ) from error
        except TimeoutError:
            reasons.append(f"{address}: no answer within {timeout_s:g} s")
        except (KafkaError, OSError) as error:
            reasons.append(f"{address}: {_reason(error)}")
        else:
            if live:
                return
            reasons.append(f"{address}: it answers, and has no broker in service yet")
    raise BrokerUnreachable("; ".join(reasons))


async def check_broker(settings: Settings, timeout_s: float = 5.0) -> None:
    """For command lines: fail within seconds, with a sentence. Raises BrokerUnreachable and what `probe` raises."""
    brokers = settings.brokers
    try:
        await probe(brokers, client_arguments(settings), timeout_s / len(brokers))
    except BrokerUnreachable as error:
        raise BrokerUnreachable(
            f"No Kafka broker answers at {','.join(brokers)} ({error}). "
            f"Check REPLAYER_BROKER and REPLAYER_SECURITY_PROTOCOL (now {settings.security_protocol}), "
            "or start a local broker: `replayer broker`."
        ) from error


async def await_broker(settings: Settings, *, longest_wait_s: float = 10.0) -> None:
    """For workers: wait for a broker as long as it takes, with a log line naming the address at each attempt.

    Raises AccessRefused and SettingsError: waiting mends neither.
    """
    address, client = ",".join(settings.brokers), client_arguments(settings)
    wait, began = 0.25, time.monotonic()
    while True:
        try:
            await probe(settings.brokers, client, 5.0)
        except BrokerUnreachable as error:
            log.warning("no Kafka broker answers; trying again", broker=address, reason=str(error), wait_s=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, longest_wait_s)
        else:
            log.info("Kafka broker answers", broker=address, after_s=round(time.monotonic() - began, 1))
            return


async def _brokers_known_to(host: str, port: int, client: Mapping[str, Any], timeout_s: float) -> int:
    connection = await create_conn(
        host, port, client_id="replayer-probe", request_timeout_ms=max(1, int(timeout_s * 1000)), **client
    )
    try:
        metadata = await connection.send(MetadataRequest([]))
        return len(metadata.brokers)
    finally:
        closed = connection.close()
        if closed is not None:
            await closed


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not verify ({error.verify_message}): check REPLAYER_TLS_CA_FILE"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__


def _password(settings: Settings) -> str | None:
    return settings.sasl_password.get_secret_value() if settings.sasl_password else None


def _unusable(variable: str, path: object, error: OSError) -> SettingsError:
    return SettingsError(
        f"{variable}: {path} cannot be used ({error.strerror or error}). It must be a readable PEM file."
    )
