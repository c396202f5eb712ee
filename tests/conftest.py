"""One real broker per test run, and names that no other test uses."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from replayer.kafka.broker import EmbeddedBroker

# How long an example takes says how busy the machine is, not whether the property holds.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def broker() -> Iterator[str]:
    """Bootstrap address: the cluster REPLAYER_BROKER names, else an embedded broker started for this run."""
    named = os.environ.get("REPLAYER_BROKER")
    if named:
        yield named
        return
    with EmbeddedBroker() as embedded:
        yield embedded.bootstrap


@pytest.fixture
def unique() -> Callable[[str], str]:
    """`unique("orders")` -> a topic, group or app name that no other test and no other run uses."""
    suffix = secrets.token_hex(4)
    return lambda name: f"{name}-{suffix}"


#: The one skip that is no failure: recorded runs that lie beside a checkout, not in it. `-ra` shows it with its reason.
NOT_HERE = "the recorded tau-bench runs are not at ../shared/data"

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and NOT_HERE not in str(report.longrepr):
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test proves nothing: a run with one is not green."""
    if _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section("skipped, which counts as failed", red=True)
        for name in _skipped:
            terminalreporter.line(name)
