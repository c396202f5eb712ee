"""RESULTS.md from results.json. Nothing in it is written by hand; a test holds the two together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.named import NAMED, Named
from benchmarks.process import ROOT
from benchmarks.profile_worker import STAGES
from benchmarks.results import Recorded, load

REPORT = ROOT / "benchmarks" / "RESULTS.md"


MIN_ROUNDS = 3
MOST_DISTURBED = 0.3  # cores kept busy by processes without a part in it, in the worst of the rounds


def unfit(recorded: Recorded) -> list[str]:
    """Why these results must not be published, a line each: figures nobody can make again, names without a figure."""
    reasons = [f"{named.name}: nothing is recorded under this name" for named in NAMED if named.name not in recorded]
    signed = {named.name for named in NAMED if named.signed}
    for name, entry in recorded.items():
        number = entry.get("ratio", entry.get("value"))
        if not isinstance(number, int | float) or not math.isfinite(number) or (number <= 0 and name not in signed):
            reasons.append(f"{name}: {number} is no figure")
        if not re.fullmatch(r"[0-9a-f]{40}", entry.get("code_commit", "")):
            reasons.append(f"{name}: {entry.get('code_commit')} is no commit; measure a clean work tree")
        detail = entry.get("detail", {})
        if len(detail.get("rounds", "all")) < MIN_ROUNDS:
            reasons.append(f"{name}: a median of {len(detail['rounds'])} rounds; {MIN_ROUNDS} are needed")
        if detail.get("disturbed_cores", 0) > MOST_DISTURBED:
            reasons.append(f"{name}: {detail['disturbed_cores']} cores were busy with something else; measure again")
    return reasons + _apart(recorded)


def _apart(recorded: Recorded) -> list[str]:
    """Peers that were not measured in one run with those they are compared with."""
    reasons = []
    for of, takes in (("1-KB", _of_1kb), ("200-byte", _of_200b)):
        runs = {(one["code_commit"], one["command"]) for name, one in recorded.items() if takes(name)}
        if len(runs) > 1:
            reasons.append(f"materialise, {of} events: measured in {len(runs)} runs; ratios are of one")
    return reasons


def _of_1kb(name: str) -> bool:
    return name.startswith("materialise.rate.1KB.") or (_is_ratio(name) and not name.endswith("_200b"))


def _of_200b(name: str) -> bool:
    return name.startswith("materialise.rate.200B.") or (_is_ratio(name) and name.endswith("_200b"))


def _is_ratio(name: str) -> bool:
    return name.startswith("materialise.") and ".rate." not in name


_PREAMBLE = """\
# Results

Made from `results.json` by `python -m benchmarks.report`; every figure there carries its command, commit, machine and
date. Broker, producer and contender share the machine, so a ratio says more than a rate. What is measured and what is
not stands at the top of each module of `benchmarks/`.
"""


def render(recorded: Recorded) -> str:
    """The whole page."""
    if not recorded:
        return f"{_PREAMBLE}\nNo figure has been recorded yet: run `make bench`.\n"
    known = [named for named in NAMED if named.name in recorded]
    missing = [f"`{named.name}`" for named in NAMED if named.name not in recorded]
    parts = [_PREAMBLE]
    if known:
        parts += [
            "## Figures\n",
            _table(("figure", "", "target", "what"), [_figure(n, recorded[n.name]) for n in known]),
        ]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.\n")
    for size in ("1KB", "200B"):
        prefix = f"materialise.rate.{size}."
        rates = {name: entry for name, entry in recorded.items() if name.startswith(prefix)}
        if rates:
            parts += [f"## Durable materialisation, {size} events\n", _rates(rates)]
    series = {name: entry for name, entry in recorded.items() if name.startswith("memory.")}
    if series:
        rows = [(f"`{name}`", _number(entry)) for name, entry in series.items()]
        parts += ["## Memory\n", _table(("figure", ""), rows)]
        if samples := recorded.get("memory.slope_mb_per_1m", {}).get("detail", {}).get("samples"):
            parts.append(_memory_line(samples, recorded["memory.slope_mb_per_1m"]["detail"]))
    if profiles := {name: entry for name, entry in recorded.items() if name.startswith("profile.us_per_event.")}:
        parts += ["## Where an event's processor time goes in a running worker\n", _profile(profiles)]
    for entry in (entry for name, entry in recorded.items() if name.startswith("profile.stages_us.")):
        stages, workload = entry["detail"]["stages"], entry["detail"]["workload"]
        parts += [
            f"The stages by themselves, without Kafka, {workload}:\n",
            _table(("per event", "µs (rows: number, bytes)"), [(name, f"{us:g}") for name, us in stages.items()]),
        ]
    parts += ["## How each was made\n", _provenance(recorded)]
    return "\n".join(parts)


def _figure(named: Named, entry: dict[str, Any]) -> tuple[str, ...]:
    rate = entry.get("detail", {}).get("events_per_s")
    return f"`{named.name}`", _number(entry), named.target(entry), named.says + (f", {rate:,} events/s" if rate else "")


def _number(entry: dict[str, Any]) -> str:
    if "ratio" in entry:
        return f"{entry['ratio']:.3g} ×"
    value = entry["value"]
    return f"{value:,.0f} {entry['unit']}" if value >= 1000 else f"{value:g} {entry['unit']}"


def _rates(rates: Recorded) -> str:
    ordered = sorted(rates.values(), key=lambda entry: -float(entry["value"]))
    rows = [
        (
            entry["detail"]["label"],
            f"{entry['value']:,.0f}",
            ", ".join(f"{one:,.0f}" for one in entry["detail"]["rounds"]),
            f"{entry['detail']['cpu_us_per_event']:.0f}",
            f"{entry['detail']['broker_cpu_us_per_event']:.0f}",
            f"{entry['detail']['rss_mb']:.0f}",
            f"{entry['detail']['disturbed_cores']:.2f}",
        )
        for entry in ordered
    ]
    header = ("contender", "events/s (median)", "rounds", "its CPU, µs/event", "broker's", "peak RSS, MB", "disturbed")
    table = _table(header, rows)
    settings = [f"- {entry['detail']['label']}: {_settings(entry['detail'])}" for entry in ordered]
    parts = (
        table,
        f"Workload: {ordered[0]['detail']['workload']}.",
        "Disturbed: cores that processes without a part in it kept busy meanwhile, at worst.\n",
        "Settings beyond the defaults:\n",
        *settings,
    )
    return "\n".join(parts) + "\n"


def _memory_line(samples: Sequence[tuple[float, float]], detail: dict[str, Any]) -> str:
    resident = [mb for _, mb in samples]
    return (
        f"Resident memory over {detail['events']:,} events, {min(resident):,.0f} to {max(resident):,.0f} MB:\n\n"
        f"    {sparkline(resident)}\n\n"
        f"Behind the first {detail['warm_up_events']:,} events a line through ten stretches changes by "
        f"{detail['rise_mb']:+g} MB to the end, which may be off by "
        f"{detail['uncertainty_mb_per_1m'] * (detail['events'] - detail['warm_up_events']) / 1e6:.3g} MB; the samples "
        f"scatter about it by {detail['scatter_mb']:g} MB.\n"
    )


def _profile(profiles: Recorded) -> str:
    """A column for each profile, a row for each stage, in µs per event."""
    details = [entry["detail"] for entry in profiles.values()]
    header = ("µs per event", *(f"{d['guarantee'].replace('_', ' ')}, {d['workload']}" for d in details))
    rows = [(says, *(_spent(stage, detail["us_per_event"]) for detail in details)) for stage, says in STAGES.items()]
    rows.append(("events/s, events a step", *(f"{d['events_per_s']:,}, {d['events_per_step']:,}" for d in details)))
    rows.append(
        ("cores kept busy", *(", ".join(f"{name} {busy:g}" for name, busy in d["cores"].items()) for d in details))
    )
    return _table(header, rows)


def _spent(stage: str, us: dict[str, float]) -> str:
    """A stage's µs; nothing is said of the rest of a thread whose clocked steps waited for longer than it ran."""
    if stage == "loop" and us["fold"] + us["store"] >= us["main_thread"]:
        return "not known: the steps above waited"
    return f"{us[stage]:.1f}"


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """One bar for each value, from the least to the greatest."""
    least, step = min(values), (max(values) - min(values)) / (len(_BARS) - 1)
    return "".join(_BARS[round((value - least) / step) if step else 0] for value in values)


def _settings(detail: dict[str, Any]) -> str:
    told = ", ".join(f"`{name}={value}`" for name, value in detail["settings"].items()) or "none"
    return f"{told}; {detail['fold']} fold" if "fold" in detail else told


def _provenance(recorded: Recorded) -> str:
    made: dict[tuple[str, ...], list[str]] = {}
    for name, entry in recorded.items():
        key = (entry["command"], entry["code_commit"], entry["date"], entry["machine"])
        made.setdefault(key, []).append(name)
    rows = [
        (
            f"`{command}`",
            f"`{commit[:12]}{'+changes' if commit.endswith('+changes') else ''}`",
            date,
            on,
            _families(names),
        )
        for (command, commit, date, on), names in made.items()
    ]
    return _table(("command", "commit", "date", "machine", "figures"), rows)


def _families(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.rpartition(".")[0] for name in names}))


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write(results: Path | None = None, report: Path = REPORT) -> None:
    """Render what is recorded."""
    report.write_text(render(load(results) if results is not None else load()), "utf-8")


if __name__ == "__main__":
    write()
