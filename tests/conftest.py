"""One real broker per test run, and names that no other test uses."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from replayer.kafka.broker import EmbeddedBroker
from replayer.native.build import up_to_date

# How long an example takes says how busy the machine is, not whether the property holds.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


#: Why there is no native fold to be tested; None where its library is there, built of the sources as they are. Tests
#: that are not collected are not passed: the summary says so.
_NO_NATIVE_FOLD: Final = up_to_date()
collect_ignore = [] if _NO_NATIVE_FOLD is None else ["native"]

_STARTED: Final = pytest.StashKey[EmbeddedBroker]()


@pytest.fixture(scope="session")
def broker(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap address: the cluster REPLAYER_BROKER names, else an embedded broker started for this run."""
    named = os.environ.get("REPLAYER_BROKER") or getattr(pytestconfig, "workerinput", {}).get("broker")
    if named:
        yield named
        return
    with EmbeddedBroker() as embedded:
        yield embedded.bootstrap


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, they are told apart by their ids: of those with one id, one is run.

    schemathesis gives each operation of a test a name of its own; pytest 9.2 leaves it out of the id.
    """
    ids = Counter(item.nodeid for item in items)
    for item in items:
        if ids[item.nodeid] > 1 and item.parent is not None:
            item._id = item.parent.id.child(item.name)
    twice = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"tests have the same id, and only one of them would be run: {twice}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Where several processes share the tests (pytest-xdist), the one that hands them out starts the run's broker."""
    config: pytest.Config = node.config
    if not os.environ.get("REPLAYER_BROKER"):
        if _STARTED not in config.stash:
            config.stash[_STARTED] = EmbeddedBroker()
            config.stash[_STARTED].__enter__()
        node.workerinput["broker"] = config.stash[_STARTED].bootstrap


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay in one process, and all that use the product's own topics on the run's broker in the same:
    they count what is in them. A chaos run takes half a minute and shares nothing with the next one: each goes where
    there is room.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc] # untyped
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/chaos/"):
                return nodeid
            own = nodeid.startswith(("tests/e2e/", "tests/cli/test_publishing.py"))
            return "the product's own topics" if own else str(super()._split_scope(nodeid))

    return Scheduling(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _STARTED in config.stash:
        config.stash[_STARTED].__exit__(None, None, None)


@pytest.fixture
def unique() -> Callable[[str], str]:
    """`unique("orders")` -> a topic, group or app name that no other test and no other run uses."""
    suffix = secrets.token_hex(4)
    return lambda name: f"{name}-{suffix}"


#: The one skip that is no failure: recorded runs that lie beside a checkout, not in it. `-ra` shows it with its reason.
NOT_HERE = "the recorded tau-bench runs are not at ../shared/data"

_skipped: dict[str, None] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and NOT_HERE not in str(report.longrepr):
        _skipped[report.nodeid] = None


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _skipped[report.nodeid] = None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped test proves nothing: a run with one is not green."""
    if _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _NO_NATIVE_FOLD is not None:
        terminalreporter.section("not tested: the native fold", yellow=True)
        terminalreporter.line(f"tests/native was not collected: {_NO_NATIVE_FOLD}")
    if _skipped:
        terminalreporter.section("skipped, which counts as failed", red=True)
        for name in _skipped:
            terminalreporter.line(name)
