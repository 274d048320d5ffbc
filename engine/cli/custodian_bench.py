"""The custodian's side of the bench: debits asked for, their statement taken, and the same lines joined by others.

What is measured runs as the commands people use, each a process of its own, so that its memory is its own, too.
Starting it is no part of that: what the same command takes to do nothing is taken off.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import SecretStr
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.cli.alternatives import Amounts
from engine.cli.shell import Addresses, child_environment
from engine.custodian.debit_files.manifest import SUFFIX, all_in
from engine.custodian.instructions import Instructions, State
from engine.custodian.matching import Matcher
from engine.custodian.profile import load
from engine.custodian.readers import read
from engine.custodian.reference import Kind
from engine.custodian.registered import assign, register
from engine.custodian.statement import Footing
from engine.custodian.tokens import Tokens, write_tokens
from engine.custodian.verdicts import Outcome
from engine.errors import FentanError
from engine.runs.run import Run
from engine.store.database import driver_of

CUSTODIAN = "generic-csv"
ENVIRONMENT = {"CUSTODIAN_GENERIC_ACCOUNT": "BENCH", "FENTAN_ACCOUNT_KEY": "fentan-bench-account-key"}
CAMT_ENTRIES = 1_000_000
SHORT_LINES = 1_000_000
ACTOR = "bench"


class Unexplained(FentanError):
    """A statement on which everything was collected as asked did not match wholly."""

    invariant = "I10"


class Child(NamedTuple):
    """A command that ended: how long it took, after how long a start, its own CPU's time, the most memory it held."""

    seconds: float
    cpu_seconds: float
    peak_mib: int
    start_seconds: float = 0.0

    def beyond(self, nothing: Child) -> Child:
        """This command without what the same takes to do nothing."""
        seconds, cpu_seconds = self.seconds - nothing.seconds, self.cpu_seconds - nothing.cpu_seconds
        return Child(max(seconds, 0.01), max(cpu_seconds, 0.0), self.peak_mib, nothing.seconds)


@dataclass(frozen=True)
class Statements:
    """What the custodian sent: all debits as CSV, its first lines as a statement of their own, and some as camt.053.

    `debits`: the folder of the files that asked for them. `lines`: of `csv`, and `short_lines` of `short_csv`.
    """

    csv: Path
    lines: int
    short_csv: Path
    short_lines: int
    camt: Path
    debits: Path


JOIN_TITLES = {
    "duckdb": "DuckDB, full outer join",
    "postgres_join": "PostgreSQL, COPY and join",
}


async def bring_accounts(connection: AsyncConnection, shard_id: int, first_seat: int, seats: int) -> None:
    """An account for each seat of a shard, 16 digits."""
    numbers = np.arange(first_seat, first_seat + seats, dtype=np.int64) + 6_217_000_000_000_000
    key = SecretStr(ENVIRONMENT["FENTAN_ACCOUNT_KEY"])
    await write_tokens(connection, shard_id, Tokens(pa.array(numbers).cast(pa.string())), key)


async def measure_custodian(
    engine: AsyncEngine, here: Addresses, run: Run, amounts: Amounts, folder: Path
) -> dict[str, Any]:
    """Figures of the custodian's side of a sealed run whose seats were charged `amounts` int64[n].

    Raises Unexplained where a command fails, or where a line of the statement does not match.
    """
    async with engine.begin() as connection:
        await register(connection, load(CUSTODIAN), actor=ACTOR)
        await assign(connection, CUSTODIAN, run.plan_id, actor=ACTOR)
    desk, count = _Desk(here, folder), int(np.count_nonzero(amounts))
    on = ("--on", run.debit_on)
    asked = await desk.twice("custodian", "instruct", run.run_id, "--as", ACTOR, *on)
    sent = await desk.twice("custodian", "send", CUSTODIAN, *on)
    statements = await _statements(desk, count)
    # First alone, as a file: what reading costs without a database, and that its memory does not grow with the file.
    check, as_json = ("statement", "check"), ("--profile", CUSTODIAN, "--json")
    short, read_alone = [
        await desk.beside_nothing(*check, path, *as_json) for path in (statements.short_csv, statements.csv)
    ]
    await _at_rest(engine)
    taken = await desk.beside_nothing("statement", "import", statements.csv, "--custodian", CUSTODIAN, "--as", ACTOR)
    await _prove_matched(engine, count)
    camt_entries, camt_seconds = await asyncio.to_thread(_match_camt, statements.camt, run, amounts)
    joins = await _joins(engine, statements)
    return {
        "instructions_per_second": round(count / asked.seconds),
        "statement_lines_per_second": round(count / taken.seconds),
        "camt_entries_per_second": round(camt_entries / camt_seconds),
        "instruct_peak_mib": asked.peak_mib,
        "statement_peak_mib": taken.peak_mib,
        **{f"ratio_{name}": round(seconds / taken.seconds, 2) for name, seconds in joins.items()},
        "custodian": {
            "lines": count,
            "camt_entries": camt_entries,
            "statement_bytes": statements.csv.stat().st_size,
            "seconds": {
                "instruct": round(asked.seconds, 4),
                "send": round(sent.seconds, 4),
                "check": round(read_alone.seconds, 4),
                "import": round(taken.seconds, 4),
                "camt": round(camt_seconds, 4),
                **{name: round(seconds, 4) for name, seconds in joins.items()},
            },
            "cpu_seconds": {"instruct": round(asked.cpu_seconds, 4), "import": round(taken.cpu_seconds, 4)},
            "start_seconds": {"instruct": round(asked.start_seconds, 4), "import": round(taken.start_seconds, 4)},
            "read_peak_mib": [
                {"lines": statements.short_lines, "peak_mib": short.peak_mib},
                {"lines": statements.lines, "peak_mib": read_alone.peak_mib},
            ],
        },
    }


def custodian_table(figures: dict[str, Any]) -> Table:
    """What `measure_custodian` found, for eyes."""
    of, seconds = figures["custodian"], figures["custodian"]["seconds"]
    table = Table("step", "lines", "seconds", "lines/s", "MiB", title="The custodian's side")

    def row(step: str, lines: int, took: float, memory: str = "") -> None:
        table.add_row(step, f"{lines:,}", f"{took:.2f}", f"{lines / took:,.0f}", memory)

    row("debits asked for", of["lines"], seconds["instruct"], f"{figures['instruct_peak_mib']}")
    row("files sent", of["lines"], seconds["send"])
    read = " / ".join(f"{each['peak_mib']}" for each in of["read_peak_mib"])
    row(f"CSV read alone ({of['read_peak_mib'][0]['lines']:,} / all)", of["lines"], seconds["check"], read)
    row("CSV read, matched, posted", of["lines"], seconds["import"], f"{figures['statement_peak_mib']}")
    row("camt.053 read, matched", of["camt_entries"], seconds["camt"])
    for name, title in JOIN_TITLES.items():
        if name in seconds:
            row(title, of["lines"], seconds[name])
    return table


@dataclass(frozen=True)
class _Desk:
    """Where commands run: on these servers, with `folder` as their data."""

    here: Addresses
    folder: Path

    async def command(self, *arguments: object, may_fail: bool = False) -> Child:
        """A command of ours as a process of its own. Raises Unexplained where it fails, unless it may."""
        environment = child_environment(self.here) | ENVIRONMENT
        environment |= {"FENTAN_LOG_LEVEL": "error", "FENTAN_DATA_DIR": str(self.folder)}
        words = [sys.executable, "-m", "engine.cli.main", *map(str, arguments)]
        began = perf_counter()
        status, cpu_seconds, peak_mib = await asyncio.to_thread(_watched, words, environment)
        if status and not may_fail:
            raise Unexplained(f"`fentan {' '.join(words[3:5])}` ended with {status}")
        return Child(perf_counter() - began, cpu_seconds, peak_mib)

    async def twice(self, *arguments: object) -> Child:
        """A command that has nothing left to do when it comes again; its seconds beyond those of the second time."""
        first, again = [await self.command(*arguments) for _ in range(2)]
        return first.beyond(again)

    async def beside_nothing(self, *arguments: object) -> Child:
        """A command about a statement, which may find fault; its seconds beyond those it takes to refuse no bytes."""
        empty = self.folder / "empty.csv"
        empty.touch()
        nothing = [empty if isinstance(each, Path) else each for each in arguments]
        refused = await self.command(*nothing, may_fail=True)
        return (await self.command(*arguments, may_fail=True)).beyond(refused)


_WATCH = """
import os, sys
null = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, used = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss >> 10)
"""
"""A small process in between: what Linux reports as a child's most memory begins with that of whoever started it."""


def _watched(command: list[str], environment: dict[str, str]) -> tuple[int, float, int]:
    """The exit status of a command, its seconds of CPU, and the most memory it held, in MiB."""
    watching = [sys.executable, "-I", "-S", "-c", _WATCH, *command]
    told = subprocess.run(watching, env=environment, stdout=subprocess.PIPE, check=True).stdout.split()
    return int(told[0]), float(told[1]), int(told[2])


async def _statements(desk: _Desk, count: int) -> Statements:
    """Play the custodian, who collects everything as asked: on one day, so that one statement holds every line."""
    folder, outgoing = desk.folder, desk.folder / "custodian" / CUSTODIAN / "out"
    some = folder / "some"
    some.mkdir()
    left = CAMT_ENTRIES
    for manifest in all_in(outgoing):
        if left > 0:
            for name in (manifest.file, manifest.reference + SUFFIX):
                (some / name).symlink_to((outgoing / name).resolve())
            left -= manifest.count
    for given, name, form in ((outgoing, "csv", "csv"), (some, "camt", "camt.053")):
        await desk.command(
            "simulate", "custodian", "--in", given, "--out", folder / name, "--seed", 1,
            "--profile", CUSTODIAN, "--rates", "all=0", "--format", form,
        )  # fmt: skip
    (csv,), (camt,) = folder.glob("csv/*.csv"), folder.glob("camt/*.xml")
    short, short_lines = folder / "short.csv", min(SHORT_LINES, count // 2)
    with csv.open("rb") as whole, short.open("wb") as part:
        # Cut off, it does not add up, which costs nothing to find out; two lines stand before the first.
        part.writelines(islice(whole, short_lines + 2))
    return Statements(csv, count, short, short_lines, camt, outgoing)


async def _at_rest(engine: AsyncEngine) -> None:
    """Have what came before written out, the custodian's own files too: nobody pays for another's dirty pages."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text("CHECKPOINT"))
    await asyncio.to_thread(os.sync)


async def _prove_matched(engine: AsyncEngine, count: int) -> None:
    async with engine.connect() as connection:
        became = await connection.execute(text("SELECT state, lines FROM statements"))
        breaks = await connection.scalar(text("SELECT count(*) FROM breaks"))
    if (found := [tuple(row) for row in became]) != [("taken", count)] or breaks:
        raise Unexplained(f"of {count} lines the statements are {found}, with {breaks} breaks")


def _match_camt(path: Path, run: Run, amounts: Amounts) -> tuple[int, float]:
    """How many entries of a camt.053 file were read and matched, and in how many seconds of one core."""
    state = np.where(amounts > 0, State.SENT, State.NONE).astype(np.uint8)
    matcher = Matcher([Instructions(Kind.DEBIT, run.run_id, amounts, state, (amounts > 0).astype(np.uint8))])
    began, entries = process_time(), 0
    for part in read(path):
        if isinstance(part, Footing):
            entries += part.entries
        else:
            matcher.take(part)
    matcher.finish()
    seconds = process_time() - began
    if matcher.tally.of(Outcome.MATCHED).count != entries:
        raise Unexplained(f"of {entries} entries {matcher.tally.of(Outcome.MATCHED).count} matched")
    return entries, seconds


async def _joins(engine: AsyncEngine, statements: Statements) -> dict[str, float]:
    """Seconds of each join that can be tried here. Raises Unexplained where one finds other lines than ours."""
    found = {}
    for name, join in _JOINS.items():
        if name == "duckdb" and find_spec(name) is None:
            continue
        await _at_rest(engine)
        found[name], matched = await join(engine, statements)
        if matched != statements.lines:
            raise Unexplained(f"{name} joined {matched} lines of {statements.lines}")
    return found


async def _duckdb(_: AsyncEngine, statements: Statements) -> tuple[float, int]:
    """A full outer join of the statement, read from its file, with the debits in a table."""
    import duckdb  # only those who develop have it

    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE asked AS SELECT reference, CAST(amount AS DECIMAL(18, 2)) AS amount"
            " FROM read_csv($1 || '/*.csv', header = true, all_varchar = true)",
            [str(statements.debits)],
        )
        began = perf_counter()
        matched = database.execute(
            "SELECT count(*) FILTER (WHERE asked.amount = CAST(line.amount AS DECIMAL(18, 2)))"
            " FROM read_csv($1, header = true, all_varchar = true, comment = '#') AS line"
            " FULL OUTER JOIN asked USING (reference)",
            [str(statements.csv)],
        ).fetchone()
        return perf_counter() - began, int(matched[0]) if matched else 0


async def _postgres(engine: AsyncEngine, statements: Statements) -> tuple[float, int]:
    """The statement's lines by COPY into a table as they are, and a full outer join with the debits in another."""
    profile = load(CUSTODIAN)
    assert profile.layouts.csv is not None
    columns = ", ".join(f"{name} {'numeric' if name == 'amount' else 'text'}" for name in profile.layouts.csv.fields)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "CREATE UNLOGGED TABLE asked (reference text, account text, amount numeric, currency text, on_day text)"
            )
        )
        await connection.execute(text(f"CREATE UNLOGGED TABLE lines ({columns})"))
        driver = await driver_of(connection)
        for path in sorted(statements.debits.glob("*.csv")):
            await driver.copy_to_table("asked", source=_rows(path), format="csv")
        await connection.execute(text("ANALYZE asked"))
        began = perf_counter()
        await driver.copy_to_table("lines", source=_rows(statements.csv), format="csv")
        matched = await connection.scalar(text(_JOIN))
        seconds = perf_counter() - began
        await connection.execute(text("DROP TABLE asked, lines"))
    return seconds, int(matched or 0)


_JOIN = "SELECT count(*) FILTER (WHERE asked.amount = lines.amount) FROM lines FULL OUTER JOIN asked USING (reference)"
_BLOCK_BYTES = 1 << 20


async def _rows(path: Path) -> AsyncIterator[bytes]:
    """The rows of a CSV file: lines of totals begin with #, and the names of the columns stand before the rows."""
    with path.open("rb") as file:
        while file.readline().startswith(b"#"):
            pass
        while block := file.read(_BLOCK_BYTES) + file.readline():
            rows, mark, _ = block.partition(b"\n#")
            yield rows + b"\n" if mark else rows


_JOINS: dict[str, Callable[[AsyncEngine, Statements], Awaitable[tuple[float, int]]]] = {
    "duckdb": _duckdb,
    "postgres_join": _postgres,
}
"""By name: others that join the same lines with the same debits; they post nothing."""
