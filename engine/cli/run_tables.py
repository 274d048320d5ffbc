"""Runs on screen: a preview, where one stands, how far it is, and the list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from engine.money import grouped, to_minor

MONEY = ("aid", "fee", "carry_in", "carry_out", "sponsor", "charged", "waived", "share")
ROWS_MAX = 20
"""Classes or cases of a preview that a screen shows; --json has them all."""

Draw = Callable[[str, int, int, float], None]
"""Called with the phase, seats done of how many, and seats a second."""


def print_preview(out: Console, run_id: int, shown: Mapping[str, Any], digest: str) -> None:
    """A run's preview for eyes."""
    is_credit = shown.get("surplus") is not None
    kind = "credit" if is_credit else "debit"
    out.print(f"Preview of run {run_id}: {shown['plan']}, {kind} on {shown['debit_on']}", style="italic")
    money = Table(show_header=False)
    money.add_column()
    money.add_column(justify="right")
    for name in ("cases", "members", "sharers"):
        money.add_row(name, f"{shown[name]:,}")
    words = words_of(is_credit=is_credit)
    for name in ("aid", "fee", "carry_in", "carry_out", "charged", "sponsor", "waived", "share"):
        money.add_row(words.get(name, name.replace("_", " ")), grouped(to_minor(shown[name])))
    for cap, seats in shown["caps_hit"].items():
        money.add_row(f"seats at the {cap.replace('_', ' ')} cap", f"{seats:,}")
    if shown["waived_seats"]:
        money.add_row("seats the sponsor pays for", f"{shown['waived_seats']:,}")
    for name in ("premiums", "claims", "costs") if is_credit else ():
        money.add_row(f"{name} of the period", grouped(to_minor(shown["surplus"][name])))
    out.print(money)
    if shown.get("rounds") is not None:
        _print_rounds(out, shown["rounds"])
    else:
        _print_classes(out, shown["classes"], "gets" if is_credit else "pays")
    out.print(f"digest {digest}")


def _print_rounds(out: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    amounts = ("charged", "aid", "fee", "sponsor", "carry")
    rounds = Table("claim", Column("sharers", justify="right"), "each pays", title="Case by case")
    for name in amounts:
        rounds.add_column(name, justify="right")
    for row in rows[:ROWS_MAX]:
        shares = ", ".join(f"{tier} {share}" for tier, share in row["shares"].items())
        money = [grouped(to_minor(row[name])) for name in amounts]
        rounds.add_row(str(row["claim"]), f"{row['sharers']:,}", shares, *money)
    out.print(rounds)
    if len(rows) > ROWS_MAX:
        out.print(f"… and {len(rows) - ROWS_MAX} more cases; --json has them all")


def words_of(*, is_credit: bool) -> dict[str, str]:
    """What amounts are called of a run that gives instead of taking."""
    return {"charged": "surplus", "aid": "given", "share": "given at most"} if is_credit else {}


def _print_classes(out: Console, rows: Sequence[Mapping[str, Any]], does: str) -> None:
    classes = Table(title=f"Who {does} what")
    for column in ("tier", "gates", "allowance"):
        classes.add_column(column)
    for column in ("seats", "exact share", does):
        classes.add_column(column, justify="right")
    for row in rows[:ROWS_MAX]:
        gates, allowance = ", ".join(row["gates"]), row["allowance"] or "none"
        classes.add_row(row["tier"], gates, allowance, f"{row['seats']:,}", row["exact"], row["charge"])
    out.print(classes)
    if len(rows) > ROWS_MAX:
        out.print(f"… and {len(rows) - ROWS_MAX} more classes; --json has them all")


def print_run(console: Console, found: Mapping[str, Any]) -> None:
    """A run for eyes: what it is and came to, its cases, its phases, and what went wrong."""
    facts = Table(title=f"Run {found['run']}", show_header=False)
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, value in found.items():
        if value in (None, [], {}) or name in ("run", "cases", "phases", "since", "missing_to_close", "failed_shards"):
            continue
        facts.add_row(name.replace("_", " "), _fact(name, value))
    for name, moment in found["since"].items():
        facts.add_row(f"{name} since", f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M %Z}")
    console.print(facts)
    if found["cases"]:
        cases = Table("claim", *(Column(name, justify="right") for name in ("aid", "aid paid", "fee")), title="Cases")
        for case in found["cases"]:
            amounts = [grouped(to_minor(case[name])) if case[name] else "" for name in ("aid", "aid_paid", "fee")]
            cases.add_row(str(case["claim"] or "surplus"), *amounts)
        console.print(cases)
    if found["phases"]:
        console.print(phases_shown(found["phases"]))
    for missing in found["missing_to_close"]:
        console.print(f"before it can be closed: {missing}", soft_wrap=True)
    for failed in found["failed_shards"]:
        console.print(f"shard {failed['shard']} failed: {failed['error']}", style="red", soft_wrap=True)


def _fact(name: str, value: Any) -> str:
    if name == "shards":
        return ", ".join(f"{count:,} {state}" for state, count in value.items() if count or state == "all")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return grouped(to_minor(value)) if name in MONEY else str(value)


def phases_shown(phases: Mapping[str, Mapping[str, float]]) -> Table:
    """How long each phase took, for eyes."""
    table = Table(
        "phase", *(Column(name, justify="right") for name in ("seconds", "members/s")), title="How long it took"
    )
    for phase, row in phases.items():
        table.add_row(phase, f"{row['seconds']:.2f}", f"{row['members_per_second']:,.0f}")
    return table


def print_runs(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """The list, a line a run."""
    table = Table("run", "plan", "debit on", "state", "planned by", "approved by", "share")
    for row in rows:
        state = f"{row['state']} (paused)" if row["paused"] else str(row["state"])
        who = row["planned_by"], row["approved_by"]
        table.add_row(str(row["run"]), row["plan"], row["debit_on"], state, *who, row["share"] or "")
    console.print(table)


@contextmanager
def drawing(out: Console) -> Iterator[Draw]:
    """Progress for the length of a block: a bar for each phase."""
    columns = (
        TextColumn("{task.description:<10}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[speed]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=out, transient=not out.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(phase: str, done: int, seats: int, per_second: float) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=seats or None, speed="")
            bars.update(tasks[phase], completed=done, total=seats or None, speed=f"{per_second:,.0f} members/s")

        yield draw


def say_where(console: Console, run_id: int, state: str, *, is_paused: bool, failure: str | None, failed: int) -> None:
    """Where a run that was followed stands. Raises typer.Exit for one that somebody must look after."""
    said = [str(state), *(["paused"] if is_paused else []), *([failure] if failure else [])]
    console.print(f"run {run_id} is {', '.join(said)}", soft_wrap=True)
    if failed:
        console.print(f"{failed} of its shards failed; `fentan run show {run_id}` says why", soft_wrap=True)
    if state == "failed" or is_paused or failed:
        raise typer.Exit(1)
