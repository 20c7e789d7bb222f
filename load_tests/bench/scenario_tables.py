"""The tables of the scenarios overload, soak and agreement."""

from __future__ import annotations

from typing import Any

from load_tests.bench.agreement import ENOUGH, Agreement
from load_tests.bench.kept import head_row, ms, percent, row
from load_tests.bench.overload import AT_ONCE_S, Overload
from load_tests.bench.soak import Soak


def overload_table(found: Overload) -> list[str]:
    """What a reader wants to know of an overload, beside what was promised of it."""
    seen = found.as_dict()
    back, stat, inside, memory = (
        seen[name] for name in ("returned", "stat", "refusal_inside", "memory")
    )
    refusal, late, lag = seen["refusal_ms"], seen["after_deadline_ms_of_504"], seen["lag_ms"]
    peak = ", ".join(f"{load} %: {rate:.1f}" for load, rate in found.peak.items())
    statuses = ", ".join(f"{count} × {status}" for status, count in seen["statuses"].items())
    return [
        f"`{found.server}`: {found.offered_rate:.1f}/s of newcomers for {found.seconds:g} s, "
        f"capacity {found.capacity:.1f}/s; who was refused came back once, when told to.",
        "",
        *head_row("what", "measured", "wanted"),
        row("goodput within the SLO a second", f"{seen['goodput_rate']:.1f}", ""),
        row(f"of the peak goodput ({peak})", percent(seen["goodput_of_peak"]), ""),
        row("answers, p50 / p99 ms", _two(seen["answered_ms"]), ""),
        row("refusals, p50 / p99 ms", _two(refusal), f"p99 < {AT_ONCE_S * 1e3:.0f}"),
        row("of that, sent late by the load generator, p50 / p99 ms", _two(lag), ""),
        row(
            "refusals by the server's own clock: mean ms / within 10 ms",
            f"{_one(inside['mean_ms'])} / {percent(inside['share_within_10_ms'])}",
            "",
        ),
        row(
            "who came back and was answered",
            f"{back['answered']} of {back['clients']} ({percent(back['answered_share'])})",
            "≥ 90 %",
        ),
        row(
            "… refused again / neither",
            f"{back['refused_again']} / {back['otherwise']}",
            "",
        ),
        row("504, ms after the deadline, p50 / p99", f"{_two(late)} ({late['count']})", ""),
        row(
            "stat answered within the SLO (others)",
            f"{percent(stat['goodput_share'])} of {stat['arrivals']} "
            f"({percent(stat['goodput_share_of_the_others'])})",
            "",
        ),
        row("all by status", statuses, ""),
        row(
            "memory at start, largest, end, MiB",
            f"{memory['start_mib']:.0f}, {memory['max_mib']:.0f}, {memory['end_mib']:.0f} "
            f"({100 * memory['growth']:+.1f} %)",
            "",
        ),
        "",
    ]


def soak_tables(found: Soak) -> list[str]:
    """The verdicts, then minute by minute."""
    seen = found.as_dict()
    memory, statuses = seen["memory"], seen["statuses"]
    lines = [
        f"`{found.server}`: {found.rate:.1f}/s for {found.seconds / 60:g} min, "
        f"capacity {found.capacity:.1f}/s.",
        "",
        *head_row("what", "measured", "wanted"),
        row("requests", f"{seen['requests']}", ""),
        row("by status", ", ".join(f"{n} × {status}" for status, n in statuses.items()), ""),
        row("lost: no response", f"{seen['lost']}", "0"),
        row(
            "another's id / an id twice / bytes unasked",
            f"{seen['wrong_id']} / {seen['repeated_id']} / {seen['surplus_bytes']}",
            "0 / 0 / 0",
        ),
        row(
            "another image's probabilities, or unreadable",
            f"{seen['wrong_answer']} / {seen['unreadable']}",
            "0 / 0",
        ),
        row("p99 ms, first minute → last", _change(seen), ""),
        row(
            f"memory MiB, from {memory['settled_s']:.0f} s to the end",
            f"{found.memory.at(memory['settled_s']):.0f} → {memory['end_mib']:.0f} "
            f"({100 * memory['growth_since_settled']:+.2f} %)",
            "< +2 %",
        ),
        "",
        *head_row("until minute", "asked", "answered", "goodput /s", "p50 ms", "p99 ms", "refused",
                  "otherwise", "MiB"),
    ]  # fmt: skip
    for minute in seen["minutes"]:
        lines.append(
            row(
                f"{minute['minute']:.4g}",
                f"{minute['requests']}",
                f"{minute['answered']}",
                f"{minute['goodput_rate']:.1f}",
                ms(minute["p50_ms"]),
                ms(minute["p99_ms"]),
                f"{minute['refused']}",
                f"{minute['otherwise']}",
                f"{minute['memory_mib']:.0f}",
            )
        )
    return [*lines, ""]


def agreement_table(found: Agreement) -> list[str]:
    """Server and simulator side by side."""
    idle = found.idle
    lines = [
        f"`{found.server}` against `cxrserve.simulation`, {found.cores} core(s), "
        f"capacity {found.capacity:.1f}/s. Alone a request takes {idle.host_s * 1e3:.1f} ms of "
        f"reading, {idle.batch_s * 1e3:.1f} ms of network (±{100 * idle.noise:.0f} %) and "
        f"{(idle.outside_s + idle.inside_s) * 1e3:.1f} ms around them.",
        "",
        f"Real → simulated (difference). Goodput differs by at most "
        f"{percent(found.largest_of_goodput)}; wanted: {percent(ENOUGH)}.",
        "",
        *head_row("load", "offered /s", "goodput /s", "mean ms", "p50 ms", "p99 ms"),
    ]
    for pair in found.pairs:
        differences = pair.differences()
        cells = [
            f"{_one(getattr(pair.real, name))} → {_one(getattr(pair.simulated, name))} "
            f"({'–' if by is None else f'{100 * by:+.0f} %'})"
            for name, by in differences.items()
        ]
        lines.append(row(f"{pair.load} %", f"{pair.offered_rate:.1f}", *cells))
    return [*lines, ""]


def _one(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _two(spread: dict[str, Any]) -> str:
    return f"{_one(spread['p50'])} / {_one(spread['p99'])}"


def _change(seen: dict[str, Any]) -> str:
    first, last, change = (
        seen[name] for name in ("p99_ms_first_minute", "p99_ms_last_minute", "p99_change")
    )
    by = "" if change is None else f" ({100 * change:+.0f} %)"
    return f"{ms(first)} → {ms(last)}{by}"
