"""The head of a shelf: what all uses on it come to, kept up to date by differences.

Uses are counted one by one, decisions by their last contribution: the one before is taken out first. So repeats and
other orders of arrival change nothing. Heads of a thing's shelves add up (`together`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from replayer.core import capped
from replayer.core.capped import MAX_VALUES, Values
from replayer.core.rows import FORMAT_BYTE, decoded
from replayer.core.shelf_rows import Contribution
from topics.fields import LatencyBand, rfc3339
from topics.usage import Detail

BANDS: tuple[str, ...] = get_args(LatencyBand)
UNSAID = "unsaid"
_NEVER, _LONG_AGO = 2**63 - 1, -(2**63)
MILLIONTHS = 1_000_000


class ShelfHead(msgspec.Struct, array_like=True, gc=False):
    """Fields are appended, never moved: the row is an array. `applied`: the offset behind the last record in it.

    `latencies`: uses by `step_of` their latency. `outcomes`: of a template, decisions with it; of a policy,
    evaluations, and `rules` the same by rule.
    """

    applied: int = 0
    uses: int = 0
    failed: int = 0
    decisions: int = 0
    workflows: int = 0
    first_us: int = _NEVER
    last_us: int = _LONG_AGO
    tenants: Values = ()
    models: Values = ()
    bands: dict[str, int] = {}
    latencies: dict[int, int] = {}
    outcomes: dict[str, int] = {}
    rules: dict[str, dict[str, int]] = {}
    statuses: dict[str, int] = {}
    overridden: int = 0
    rated: int = 0  # decisions with feedback
    scored: int = 0  # those whose latest feedback has a score
    score: int = 0  # the sum of these, in millionths
    overflow: Values = ()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ShelfHead).decode


def encode_shelf_head(head: ShelfHead) -> bytes:
    return FORMAT_BYTE + _encode(head)


def decode_shelf_head(value: bytes) -> ShelfHead:
    """Raises UnknownRowFormat, DamagedRow."""
    return decoded("shelf", value, _decode)


def millionths(score: float | None) -> int | None:
    """A score as an integer: sums of these can be taken out again, exactly."""
    return None if score is None else round(score * MILLIONTHS)


def seen(head: ShelfHead, tenant_id: str, first_us: int, last_us: int) -> None:
    """Somebody of the tenant used it from then to then."""
    head.first_us, head.last_us = min(head.first_us, first_us), max(head.last_us, last_us)
    if tenant_id not in head.tenants:
        capped.put(head, "tenants", tenant_id)


def count_use(head: ShelfHead, detail: Detail) -> None:
    """Of a template: model, latency in ms, latency band, whether it failed."""
    model, latency_ms, band, failed = detail
    head.uses += 1
    head.failed += bool(failed)
    if model not in head.models:
        capped.put(head, "models", str(model))
    capped.count(head.bands, str(band) if band in BANDS else UNSAID)
    if latency_ms is not None:
        step = step_of(int(latency_ms))
        head.latencies[step] = head.latencies.get(step, 0) + 1


def count_evaluation(head: ShelfHead, detail: Detail) -> None:
    """Of a policy: outcome, rule, enforced action, reason. Of rules the 64 smallest are kept."""
    outcome, rule, *_ = detail
    head.uses += 1
    capped.count(head.outcomes, str(outcome))
    name = "" if rule is None else str(rule)
    if name not in head.rules:
        head.rules[name] = {}
        if len(head.rules) > MAX_VALUES:
            del head.rules[max(head.rules)]
            head.overflow = tuple(sorted({*head.overflow, "rules"}))
    if name in head.rules:
        capped.count(head.rules[name], str(outcome))


def put_in(head: ShelfHead, contribution: Contribution, sign: int = 1) -> None:
    """A decision's contribution; one without uses counts for nothing. `sign` -1: take it out."""
    if not contribution.uses:
        return
    head.decisions += sign
    if contribution.version:
        _add(head.statuses, contribution.status, sign)
    for outcome in contribution.outcomes:
        _add(head.outcomes, outcome, sign)
    head.overridden += sign * contribution.overridden
    head.rated += sign * (contribution.feedbacks > 0)
    if contribution.score is not None:
        head.scored += sign
        head.score += sign * contribution.score


def take_out(head: ShelfHead, contribution: Contribution) -> None:
    put_in(head, contribution, -1)


def _add(counts: dict[str, int], name: str, number: int) -> None:
    left = counts.get(name, 0) + number
    if left:
        counts[name] = left
    else:
        counts.pop(name, None)


def step_of(latency_ms: int) -> int:
    """The step a latency stands on: below 16 ms its own, above eight to each doubling. `latency_of` undoes it."""
    if latency_ms < 16:
        return max(0, latency_ms)
    shift = latency_ms.bit_length() - 4
    return 8 * shift + (latency_ms >> shift)


def latency_of(step: int) -> int:
    """The greatest latency on a step, ms."""
    if step < 16:
        return step
    shift, top = divmod(step - 8, 8)
    return ((top + 9) << shift) - 1


def quantile(latencies: dict[int, int], share: float) -> int | None:
    """The latency that `share` of the uses did not exceed, at most an eighth too large; None without any."""
    wanted, so_far = share * sum(latencies.values()), 0
    for step in sorted(latencies):
        so_far += latencies[step]
        if so_far >= wanted:
            return latency_of(step)
    return None


def together(heads: Iterable[ShelfHead]) -> ShelfHead:
    """The heads of several shelves as one."""
    whole = ShelfHead()
    for head in heads:
        for name in ("uses", "failed", "decisions", "workflows", "overridden", "rated", "scored", "score"):
            setattr(whole, name, getattr(whole, name) + getattr(head, name))
        whole.first_us, whole.last_us = min(whole.first_us, head.first_us), max(whole.last_us, head.last_us)
        for name in ("tenants", "models"):
            for value in getattr(head, name):
                if value not in getattr(whole, name):
                    capped.put(whole, name, value)
        whole.overflow = tuple(sorted({*whole.overflow, *head.overflow}))
        for name in ("bands", "outcomes", "statuses"):
            for key, number in getattr(head, name).items():
                _add(getattr(whole, name), key, number)
        for step, number in head.latencies.items():
            whole.latencies[step] = whole.latencies.get(step, 0) + number
        for rule, outcomes in head.rules.items():
            known = whole.rules.setdefault(rule, {})
            for outcome, number in outcomes.items():
                _add(known, outcome, number)
    if "rules" in whole.overflow:  # each shelf has its smallest: of these all is known
        whole.rules = {rule: whole.rules[rule] for rule in sorted(whole.rules)[:MAX_VALUES]}
    return whole


def described(head: ShelfHead) -> dict[str, Any]:
    """What there is to say of a thing that is used, as JSON-ready data."""
    some = head.first_us <= head.last_us
    return {
        "first_used_at": rfc3339(head.first_us) if some else None,
        "last_used_at": rfc3339(head.last_us) if some else None,
        "decisions": head.decisions,
        "workflows": head.workflows,
        "tenants": list(head.tenants),
        "overflow": list(head.overflow),
    }


def described_template(head: ShelfHead) -> dict[str, Any]:
    """The same of a prompt template, with what became of the decisions that used it."""
    return {
        "uses": head.uses,
        **described(head),
        "models": list(head.models),
        "failed": head.failed,
        "latency_bands": {band: head.bands.get(band, 0) for band in (*BANDS, UNSAID)},
        "latency_ms": _latency(head),
        "statuses": dict(sorted(head.statuses.items())),
        "policy_outcomes": dict(sorted(head.outcomes.items())),
        "overridden": head.overridden,
        "feedback": {
            "decisions": head.rated,
            "scored": head.scored,
            "mean_score": _mean_score(head),
        },
    }


def compared(head: ShelfHead) -> dict[str, Any]:
    """One side of a comparison: sample sizes, and rates of them."""
    return {
        "uses": head.uses,
        "decisions": head.decisions,
        "workflows": head.workflows,
        "failed": _rate(head.failed, head.uses),
        "policy_outcomes": {name: _rate(count, head.decisions) for name, count in sorted(head.outcomes.items())},
        "overridden": _rate(head.overridden, head.decisions),
        "with_feedback": _rate(head.rated, head.decisions),
        "mean_score": _mean_score(head),
        "latency_ms": _latency(head),
    }


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean_score(head: ShelfHead) -> float | None:
    return head.score / MILLIONTHS / head.scored if head.scored else None


def _latency(head: ShelfHead) -> dict[str, int | None]:
    return {"p50": quantile(head.latencies, 0.5), "p95": quantile(head.latencies, 0.95)}
