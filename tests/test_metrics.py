"""Metrics: what the engine and the views report, as Prometheus reads it."""

from __future__ import annotations

import subprocess
import sys

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from replayer.core.outcome import Folded, Send
from replayer.metrics import Metrics
from topics import deadletter


def scraped(metrics):
    """{(sample, labels): value} of what /metrics would print."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(metrics, name, **labels):
    return scraped(metrics).get((name, tuple(sorted(labels.items()))))


def test_one_step_of_the_engine():
    metrics = Metrics()
    dead = Send("dead-letters", b"k", b"v", headers=((deadletter.REASON, b"invalid"),))
    strange = Send("dead-letters", b"k", b"v", headers=((deadletter.REASON, b"made up by somebody"),))
    folded = Folded(sends=[dead, strange, Send("elsewhere", None, None)], counts={"folded": 7, "dead_letter": 2})
    for _ in range(2):
        metrics.step("timelines", 3, {"tool-events": 40}, 9, 21, folded, [("tool-events", (5, 11))], 0.002, 0.02, 0.001)

    assert of(metrics, "replayer_events_total", table="timelines", outcome="folded") == 14
    assert of(metrics, "replayer_dead_letters_total", table="timelines", reason="invalid") == 2
    assert of(metrics, "replayer_dead_letters_total", table="timelines", reason="unknown") == 2
    assert of(metrics, "replayer_rows_total", table="timelines") == 42
    assert of(metrics, "replayer_batch_records_sum", table="timelines") == 18
    assert of(metrics, "replayer_commit_seconds_bucket", table="timelines", le="0.01") == 0
    assert of(metrics, "replayer_commit_seconds_bucket", table="timelines", le="0.03") == 2
    assert of(metrics, "replayer_position", table="timelines", topic="tool-events", partition="3") == 40
    assert of(metrics, "replayer_gap_offsets_total", table="timelines", topic="tool-events", partition="3") == 12
    assert of(metrics, "replayer_transactions_total", table="timelines", outcome="committed") == 2


def test_what_goes_wrong_is_counted():
    metrics = Metrics()
    metrics.transaction_failed("t")
    metrics.sought_back("t")
    metrics.state_set_aside("t", "outdated")
    metrics.recovered("t", 1000)
    assert of(metrics, "replayer_transactions_total", table="t", outcome="failed") == 1
    assert of(metrics, "replayer_sought_back_total", table="t") == 1
    assert of(metrics, "replayer_state_set_aside_total", table="t", reason="outdated") == 1
    assert of(metrics, "replayer_recovered_rows_total", table="t") == 1000


def test_the_group_and_the_lag_as_it_is_known_now():
    metrics = Metrics()
    metrics.assigned(4)
    metrics.assigned(6)
    assert of(metrics, "replayer_rebalances_total") == 2
    assert of(metrics, "replayer_generation") == 6
    metrics.lag({("t", "a", 0): 5, ("t", "a", 1): 0})
    metrics.lag({("t", "a", 1): 7})
    assert of(metrics, "replayer_lag", table="t", topic="a", partition="1") == 7
    assert of(metrics, "replayer_lag", table="t", topic="a", partition="0") is None, "another worker's by now"


def test_answers_and_refusals():
    metrics = Metrics()
    metrics.answered("list_workflows", 200, 0.02)
    metrics.answered("list_workflows", 429, 0.0001)
    assert of(metrics, "replayer_requests_total", operation="list_workflows", status="200") == 1
    assert of(metrics, "replayer_rate_limited_requests_total") == 1
    assert of(metrics, "replayer_request_seconds_count", operation="list_workflows") == 2
    metrics.forwarded("timeline", 404)
    metrics.forwarded("timeline", None)
    assert of(metrics, "replayer_forwarded_requests_total", operation="timeline", status="404") == 1
    assert of(metrics, "replayer_forwarded_requests_total", operation="timeline", status="none") == 1


def test_each_process_can_be_told_apart_and_watched():
    names = {name for name, _ in scraped(Metrics())}
    assert "replayer_build" in names
    assert "process_resident_memory_bytes" in names


def test_two_sets_do_not_meet_and_import_registers_nothing():
    first, second = Metrics(), Metrics()
    first.recovered("t", 1)
    assert of(second, "replayer_recovered_rows_total", table="t") is None
    program = (
        "from prometheus_client import REGISTRY\n"
        "import replayer.metrics\n"
        "replayer.metrics.Metrics()\n"
        "assert not [m for m in REGISTRY.collect() if m.name.startswith('replayer')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_metric_has_help():
    for family in Metrics().registry.collect():
        assert len(family.documentation) > 10, family.name
