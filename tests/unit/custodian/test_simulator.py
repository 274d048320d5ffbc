"""The simulated custodian: it books what it is sent, and what it plants is found as what it is, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from engine.custodian import readers
from engine.custodian.breaks import Code
from engine.custodian.debit_files import SCHEMA as DEBITS
from engine.custodian.debit_files import Batch, write
from engine.custodian.debit_files.manifest import SUFFIX, all_in
from engine.custodian.gates import Tally, problems
from engine.custodian.instructions import Instructions, State
from engine.custodian.matching import Matcher
from engine.custodian.profile import AccountNumbers, BookingMode, Profile, parse
from engine.custodian.reference import Kind, decode, encode
from engine.custodian.statement import SCHEMA, Footing
from engine.custodian.verdicts import Outcome, named
from engine.errors import InvalidInput
from engine.money import to_minor
from engine.resources import config_dir
from engine.simulator.custodian import FORMATS, Custodian, Played
from engine.simulator.diary import alone_in
from engine.simulator.faults import Fault, Rates
from engine.simulator.lines import Lines
from engine.simulator.statements import CamtForm, CsvForm, StatementFile

RUN, DEBIT_ON = 7, date(2019, 1, 21)
HEALTHY = "all=0"
MANY = 3_000

Row = Mapping[str, str]


def profile_of(name: str, **changes: Any) -> Profile:
    found = parse((config_dir() / "custodians" / f"{name}.toml").read_text("utf-8"), name)
    return found.model_copy(update=changes)


GENERIC = profile_of("generic-csv")


def amounts_of(seats: np.ndarray) -> np.ndarray:
    return 1 + seats * 7 % 40


def send(
    folder: Path,
    count: int = MANY,
    *,
    attempt: int = 1,
    on: date = DEBIT_ON,
    profile: Profile = GENERIC,
    items: int = 700,
    kind: Kind = Kind.DEBIT,
) -> None:
    """Files of so many debits, or payouts."""
    folder.mkdir(exist_ok=True)
    seats, prefix = np.arange(count), "NL00MOCK" if profile.currency == "EUR" else ""
    columns = [
        encode(kind, RUN, attempt, seats),
        pa.array([f"{prefix}{10**15 + seat}" for seat in seats]),
        pa.array(amounts_of(seats)),
        pa.array([f"M{seat}" for seat in seats]),
        pa.repeat(pa.scalar(date(2018, 1, 1)), count),
    ]
    limits = profile.limits.model_copy(update={"max_items_per_file": items})
    first = 1 if kind is Kind.DEBIT else 2_000_001
    batch = Batch(RUN, attempt, on, datetime(2019, 1, 20, tzinfo=UTC), first_file=first, kind=kind)
    numbers = AccountNumbers(number="NL00MOCK0123456789", creditor_id="NL00ZZZ0")
    limited = profile.model_copy(update={"limits": limits})
    write(folder, limited, numbers, batch, [pa.RecordBatch.from_arrays(columns, schema=DEBITS)])


def play(folder: Path, rates: str = HEALTHY, *, profile: Profile = GENERIC, seed: int = 1, **options: Any) -> Played:
    sent = folder / options.pop("out", "out")
    sent.mkdir(exist_ok=True)
    formats = options.pop("formats", ["csv"])
    custodian = Custodian(profile, seed=seed, rates=Rates.read(rates), account="X1", formats=formats)
    return custodian.play(folder / options.pop("received", "in"), sent, **options)


def rows_of(path: Path) -> list[Row]:
    """The lines of a statement of generic-csv."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    names = lines[0].split(",")
    return [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]


def totals_of(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    return dict(line[1:].split(",", 1) for line in lines)


def lines_of(rows: list[Row]) -> pa.RecordBatch:
    """Rows of generic-csv as lines of SCHEMA, read as plainly as one can."""
    told = [
        {
            "ordinal": number,
            "line": number,
            "booked_on": date.fromisoformat(row["booked_on"]),
            "value_on": date.fromisoformat(row["value_on"]),
            "amount_minor": to_minor(row["amount"]),
            "kind": row["kind"],
            "original_minor": to_minor(row["original"]) if row["original"] else None,
            "charges_minor": to_minor(row["charges"]),
            "count": int(row["count"]),
            **{name: row[name] or None for name in ("reference", "batch_reference", "bank_reference", "reason")},
        }
        for number, row in enumerate(rows, 1)
    ]
    return pa.RecordBatch.from_pylist(told, SCHEMA)


def whole(played: Played) -> list[Path]:
    return [path for path in played.statements if "-cut" not in path.name]


def every_row(played: Played) -> Iterator[Row]:
    for path in whole(played):
        yield from rows_of(path)


def test_a_healthy_custodian_books_every_debit_once(tmp_path: Path) -> None:
    send(tmp_path / "in")
    played = play(tmp_path)
    rows = list(every_row(played))
    assert [path.name for path in played.statements] == ["2019-01-21-0001.csv"]
    assert [row["reference"] for row in rows] == encode(Kind.DEBIT, RUN, 1, np.arange(MANY)).to_pylist()
    assert [to_minor(row["amount"]) for row in rows] == amounts_of(np.arange(MANY)).tolist()
    assert len({row["bank_reference"] for row in rows}) == played.lines == MANY
    assert set(played.planted.values()) == {0}


def test_the_same_seed_plants_the_same_faults(tmp_path: Path) -> None:
    send(tmp_path / "in")
    files = [play(tmp_path, "", seed=seed, out=out).statements for seed, out in ((1, "a"), (1, "b"), (2, "c"))]
    first, again, other = ([path.read_bytes() for path in each] for each in files)
    assert first == again
    assert first != other


def test_statements_tie_out_and_follow_each_other(tmp_path: Path) -> None:
    send(tmp_path / "in")
    opening = "0.00"
    for path in whole(play(tmp_path, "insufficient_funds=0.2,late_return=0.1,truncated_file=0.5")):
        totals, amounts = totals_of(path), [to_minor(row["amount"]) for row in rows_of(path)]
        assert totals["opening"] == opening
        assert to_minor(totals["closing"]) == to_minor(opening) + sum(amounts)
        assert int(totals["entries"]) == len(amounts)
        assert to_minor(totals["credits"]) - to_minor(totals["debits"]) == sum(amounts)
        opening = totals["closing"]


def states_on(path: Path, settled_from: date, matcher: Matcher | None) -> list[Instructions]:
    """What we know before a statement: all sent, or what the one before left, settled where it is late."""
    if matcher is None:
        seats = np.arange(MANY)
        sent, attempt = np.full(MANY, State.SENT, np.uint8), np.ones(MANY, np.uint8)
        day = np.full(2, (DEBIT_ON - date(1970, 1, 1)).days, np.int32)
        return [Instructions(Kind.DEBIT, RUN, amounts_of(seats), sent, attempt, sent_on=day)]
    found = next(iter(matcher.instructions.values()))
    if path.name[:10] >= settled_from.isoformat():
        found.state[found.state == State.BOOKED] = State.SETTLED
    return [found]


EXPECTED = {
    Fault.INSUFFICIENT_FUNDS: "MATCHED",
    Fault.CLOSED_ACCOUNT: "MATCHED",
    Fault.RETURN_WITH_CHARGES: "MATCHED",
    Fault.DUPLICATE: Code.DUPLICATE_AT_BANK,
    Fault.LATE_RETURN: Code.RETURNED_AFTER_SETTLEMENT,
    Fault.AMOUNT_MISMATCH: Code.AMOUNT_MISMATCH,
    Fault.NOT_OURS: Code.MISSING_IN_LEDGER,
}


def test_what_was_planted_is_found_and_nothing_else(tmp_path: Path) -> None:
    send(tmp_path / "in")
    even = ",".join(f"{fault}=0.02" for fault in [*EXPECTED, Fault.MISSING_LINE])
    played = play(tmp_path, f"{even},truncated_file=0.4", truth=tmp_path / "truth.csv")
    truth = pyarrow.csv.read_csv(tmp_path / "truth.csv").to_pylist()
    found, matched, matcher = Counter[tuple[str, str]](), 0, None
    for path in whole(played):
        matcher = Matcher(states_on(path, date(2019, 2, 1), matcher))
        verdicts = matcher.take(lines_of(rows_of(path)))
        references = verdicts.lines.column("reference").to_pylist()
        assert not verdicts.rows(Outcome.WAITING).size
        matcher.finish()
        for row in verdicts.rows(Outcome.BREAK).tolist():
            found[str(named(verdicts.verdict[row]).code), references[row] or ""] += 1
        matched += matcher.tally.of(Outcome.MATCHED).count
    expected = Counter(
        (str(EXPECTED[fault]), row["reference"] or "")
        for row in truth
        if (fault := Fault(row["fault"])) in EXPECTED and EXPECTED[fault] != "MATCHED"
    )
    assert found == expected
    assert matcher is not None
    state = Counter(matcher.instructions[Kind.DEBIT, RUN].state.tolist())
    back = sum(played.planted[fault] for fault, what in EXPECTED.items() if what == "MATCHED")
    assert state[State.SENT] == played.planted[Fault.MISSING_LINE] > 0
    assert (state[State.RETURNED], state[State.REOPENED]) == (back, played.planted[Fault.LATE_RETURN])
    assert state[State.DISPUTED] == played.planted[Fault.AMOUNT_MISMATCH]
    assert matched == played.lines - expected.total()
    assert Counter(row["fault"] for row in truth) == {fault: n for fault, n in played.planted.items() if n}
    assert all(played.planted.values())


@pytest.mark.parametrize(
    ("fault", "kind", "reason", "days"),
    [
        (Fault.INSUFFICIENT_FUNDS, "return", "AM04", {1, 2}),
        (Fault.CLOSED_ACCOUNT, "return", "AC04", {1, 2}),
        (Fault.LATE_RETURN, "return", "MD06", {20}),
        (Fault.RETURN_WITH_CHARGES, "return", "AM04", {1, 2}),
        (Fault.DUPLICATE, "debit", "", {0, 1}),
    ],
)
def test_what_a_fault_brings(tmp_path: Path, fault: Fault, kind: str, reason: str, days: set[int]) -> None:
    send(tmp_path / "in", 200)
    rows = list(every_row(play(tmp_path, f"all=0,{fault}=1")))
    booked, more = rows[:200], rows[200:]
    assert {row["kind"] for row in booked} == {"debit"}
    assert Counter(row["reference"] for row in more) == Counter(row["reference"] for row in booked)
    assert {(row["kind"], row["reason"]) for row in more} == {(kind, reason)}
    assert {(date.fromisoformat(row["booked_on"]) - DEBIT_ON).days for row in more} == days
    asked = {row["reference"]: to_minor(row["amount"]) for row in booked}
    for row in more if kind == "return" else ():
        assert to_minor(row["original"]) == asked[row["reference"]]
        assert -to_minor(row["amount"]) == to_minor(row["original"]) + to_minor(row["charges"])
        assert (row["charges"] == "5.50") is (fault is Fault.RETURN_WITH_CHARGES)


def test_a_wrong_amount_is_never_the_right_one_nor_nothing(tmp_path: Path) -> None:
    send(tmp_path / "in", 200)
    booked = [to_minor(row["amount"]) for row in every_row(play(tmp_path, "all=0,amount_mismatch=1"))]
    assert all(one != other and one > 0 for one, other in zip(booked, amounts_of(np.arange(200)), strict=True))


def test_what_is_missing_is_on_no_statement(tmp_path: Path) -> None:
    send(tmp_path / "in", 200)
    played = play(tmp_path, "all=0,missing_line=1", truth=tmp_path / "truth.csv")
    assert list(every_row(played)) == []
    assert pyarrow.csv.read_csv(tmp_path / "truth.csv").num_rows == played.planted[Fault.MISSING_LINE] == 200


def test_a_cut_copy_comes_before_its_statement(tmp_path: Path) -> None:
    send(tmp_path / "in", 200)
    cut, statement = play(tmp_path, "all=0,truncated_file=1").statements
    assert sorted([statement, cut]) == [cut, statement]
    assert statement.read_bytes().startswith(cut.read_bytes())
    assert 0 < cut.stat().st_size < statement.stat().st_size
    assert b"#closing" not in cut.read_bytes()


DAYS = [DEBIT_ON + timedelta(days=days) for days in (0, 1, 3, 20)]
EVEN = ",".join(f"{fault}=0.05" for fault in Fault if fault is not Fault.TRUNCATED_FILE) + ",truncated_file=0.4"


def published(folder: Path) -> dict[str, bytes]:
    """What is in a folder of statements, and what was planted."""
    return {path.name: path.read_bytes() for path in (*folder.glob("20*"), folder / "truth.csv")}


def move(source: Path, folder: Path, *, from_day: date, to_day: date | None) -> None:
    """Let the files of some debit days arrive."""
    folder.mkdir(exist_ok=True)
    for each in all_in(source):
        if from_day <= each.debit_on and (to_day is None or each.debit_on <= to_day):
            for name in (each.file, each.reference + SUFFIX):
                shutil.copy(source / name, folder / name)


def test_day_by_day_is_all_at_once(tmp_path: Path) -> None:
    for attempt, on in enumerate(DAYS, 1):
        send(tmp_path / "in", 200, attempt=attempt, on=on, items=120)
    send(tmp_path / "in", 40, kind=Kind.PAYOUT, on=DAYS[1])
    paid_in = tmp_path / "top-ups.csv"
    paid_in.write_text(f"reference,amount,day\nT1,9.00,{DAYS[0]}\nT2,12.50,{DAYS[2]}\n", "utf-8")
    play(tmp_path, EVEN, out="once", truth=tmp_path / "once" / "truth.csv", top_ups=paid_in)

    @given(stops=st.sets(st.integers(0, 45), max_size=6), early=st.booleans())
    @settings(max_examples=15)
    def split(stops: set[int], early: bool) -> None:
        folder, before = Path(mkdtemp(dir=tmp_path)), date.min
        for stop in [*(DEBIT_ON + timedelta(days=days) for days in sorted(stops)), None]:
            move(tmp_path / "in", folder / "in", from_day=date.min if early else before, to_day=None if early else stop)
            play(folder, EVEN, until=stop, truth=folder / "out" / "truth.csv", top_ups=paid_in)
            before = stop or before
        assert published(folder / "out") == published(tmp_path / "once")

    split()


def test_what_comes_late_is_booked_on_the_first_day_that_is_not_over(tmp_path: Path) -> None:
    send(tmp_path / "in", 20)
    play(tmp_path, until=DEBIT_ON + timedelta(days=4))
    send(tmp_path / "in", 30, attempt=2, on=DEBIT_ON + timedelta(days=1))
    late = play(tmp_path)
    assert [path.name for path in late.statements] == ["2019-01-26-0002.csv"]
    assert late.lines == 30
    assert play(tmp_path).statements == []


_KILLED = """
import os, sys
from pathlib import Path
from tests.unit.custodian.test_simulator import EVEN, play
folder, paid_in = Path(sys.argv[1]), Path(sys.argv[1]) / "top-ups.csv"

def child(out, kill_at):
    pid = os.fork()
    if not pid:
        seen = [0]
        def count(event, args):
            if event in ("open", "os.rename", "os.remove"):
                seen[0] += 1
                if seen[0] == kill_at:
                    os._exit(9)
        sys.addaudithook(count)
        play(folder, EVEN, out=out, truth=folder / out / "truth.csv", top_ups=paid_in)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

assert child("whole", 0) == 0
times = 0
for kill_at in range(1, 1000, 11):
    if child(f"killed-{kill_at}", kill_at) == 0:
        break
    times += 1
    for again in (kill_at, 5, 0):
        child(f"killed-{kill_at}", again)
print(times)
"""


def test_killed_anywhere_and_called_again_it_writes_the_same(tmp_path: Path) -> None:
    for attempt, on in enumerate(DAYS[:2], 1):
        send(tmp_path / "in", 100, attempt=attempt, on=on, items=60)
    (tmp_path / "top-ups.csv").write_text(f"reference,amount,day\nT1,9.00,{DAYS[0]}\n", "utf-8")
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert int(done.stdout) > 5
    for killed in tmp_path.glob("killed-*"):
        assert published(killed) == published(tmp_path / "whole")


def test_two_do_not_play_in_one_folder(tmp_path: Path) -> None:
    send(tmp_path / "in", 10)
    play(tmp_path)
    with pytest.raises(InvalidInput, match="a custodian with seed 1 plays there"):
        play(tmp_path, seed=2)
    with alone_in(tmp_path / "out"), pytest.raises(InvalidInput, match="another process plays there"):
        play(tmp_path)


@pytest.mark.parametrize("kind", [Kind.PAYOUT, Kind.REFUND])
def test_what_is_paid_out_leaves_the_account_and_some_comes_back(tmp_path: Path, kind: Kind) -> None:
    send(tmp_path / "in", 200, kind=kind)
    played = play(tmp_path, "closed_account=0.2,duplicate=0.5,truncated_file=0")
    rows = list(every_row(played))
    paid = [row for row in rows if row["kind"] == "payout"]
    back = [row for row in rows if row["kind"] == "return"]
    assert [row["reference"] for row in paid] == encode(kind, RUN, 1, np.arange(200)).to_pylist()
    assert [-to_minor(row["amount"]) for row in paid] == amounts_of(np.arange(200)).tolist()
    sums = {row["reference"]: row["amount"] for row in paid}
    assert len(back) == len(rows) - len(paid) == played.planted[Fault.CLOSED_ACCOUNT] > 10
    assert all((f"-{row['amount']}", row["original"]) == (sums[row["reference"]], row["amount"]) for row in back)
    instructions = Instructions(
        kind, RUN, amounts_of(np.arange(200)), np.full(200, State.SENT, np.uint8), np.ones(200, np.uint8)
    )
    matcher = Matcher([instructions])
    matcher.take(lines_of(rows))
    matcher.finish()
    assert matcher.tally.of(Outcome.MATCHED).count == len(rows)


def test_orders_in_xml_are_taken_and_booked_in_xml(tmp_path: Path) -> None:
    profile = profile_of("mock-bank")
    send(tmp_path / "in", 60, profile=profile, items=25)
    send(tmp_path / "in", 15, kind=Kind.PAYOUT, profile=profile)
    (path,) = play(tmp_path, profile=profile, formats=["camt.053"]).statements
    found = [part for part in readers.read(path) if isinstance(part, pa.RecordBatch)]
    told = {row["reference"]: row for batch in found for row in batch.to_pylist()}
    for kind, count, sign in ((Kind.DEBIT, 60, 1), (Kind.PAYOUT, 15, -1)):
        for seat, reference in enumerate(encode(kind, RUN, 1, np.arange(count)).to_pylist()):
            assert told.pop(reference)["amount_minor"] == sign * amounts_of(np.arange(count))[seat]
    assert not told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reference,amount\nT1,9.00\n", "write reference,amount,day"),
        ("reference,amount,day\nT1,9.001,2019-01-21\n", "write reference,amount,day"),
        ("reference,amount,day\nT1,-1.00,2019-01-21\n", "is not above 0"),
        ("reference,amount,day\nT1,,2019-01-21\n", "is missing"),
    ],
)
def test_top_ups_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "top-ups.csv").write_text(text, "utf-8")
    (tmp_path / "in").mkdir()
    with pytest.raises(InvalidInput, match=message):
        play(tmp_path, top_ups=tmp_path / "top-ups.csv")


MONDAY = date(2019, 1, 21)
_SOME = np.array([1, 250, 99_999_99, 7])
_TOLD = [
    Lines(encode(Kind.DEBIT, RUN, 1, np.arange(4)), _SOME, "debit", "B00000710000016R"),
    Lines(encode(Kind.DEBIT, RUN, 1, np.arange(4)), -_SOME - 550, "return", reason="AM04", charges_minor=550),
    Lines(encode(Kind.DEBIT, RUN, 1, np.arange(4)), -_SOME, "return", reason="AC04"),
    Lines(pa.nulls(1, pa.string()), np.array([1_000]), "batch", "B00000710000016R", count=250),
    Lines(pa.array(["INV-1", None, "INV-3", None]), _SOME, "top-up"),
    Lines(encode(Kind.PAYOUT, RUN, 1, np.arange(4)), -_SOME, "payout", "B00000710000016R"),
    Lines(encode(Kind.PAYOUT, RUN, 1, np.arange(4)), _SOME, "return", reason="AC04"),
    Lines(pa.nulls(2, pa.string()), np.array([-550, -550]), "charge"),
]


@pytest.mark.parametrize(
    ("name", "form"),
    [*((name, "csv") for name in ("generic-csv", "alipay", "wechat", "daikou-bank")), ("mock-bank", "camt.053")],
)
def test_every_line_reads_back_as_it_was_booked(tmp_path: Path, name: str, form: str) -> None:
    profile = profile_of(name)
    layout = profile.layouts.csv
    kinds = {"debit", "return", "batch", "top-up", "payout", "charge"}
    kinds &= {*layout.kinds.values()} if layout else kinds - {"charge"}
    held = set(layout.fields) if layout else {"charges", "original", "reason", "batch_reference", "count"}
    told = [lines for lines in _TOLD if lines.kind in kinds and ("charges" in held or not lines.charges_minor)]
    made = CsvForm(profile, MONDAY, "X1") if form == "csv" else CamtForm(profile, MONDAY, "X1", 3)
    with StatementFile(tmp_path / "statement", made, 12_345) as file:
        for lines in told:
            file.write(lines)
    *batches, footing = readers.read(tmp_path / "statement", [(profile.layouts, profile.currency)])
    assert isinstance(footing, Footing)
    tally = Tally()
    found: list[dict[str, Any]] = []
    for batch in batches:
        assert isinstance(batch, pa.RecordBatch)
        tally.take(batch)
        found += batch.to_pylist()
    assert problems(footing, tally) == ()
    expected = [
        {
            "booked_on": MONDAY,
            "amount_minor": int(lines.amounts[row]),
            "kind": lines.kind,
            "reference": lines.references[row].as_py()
            or (None if "batch_reference" in held else lines.batch_reference),
            **({"charges_minor": lines.charges_minor} if "charges" in held else {}),
            **({"count": lines.count} if "count" in held else {}),
            **({"batch_reference": lines.batch_reference} if "batch_reference" in held else {}),
            **({"reason": lines.reason} if "reason" in held else {}),
            **({"original_minor": originals[row]} if "original" in held else {}),
        }
        for lines in told
        for originals in [pa.array(lines.originals()).to_pylist() if lines.kind == "return" else [None] * 4]
        for row in range(len(lines))
    ]
    assert [{key: row[key] for key in expected[0]} for row in found] == expected


@pytest.mark.parametrize("name", ["generic-csv", "alipay", "wechat"])
def test_a_statement_that_was_cut_off_at_a_line_is_never_whole(tmp_path: Path, name: str) -> None:
    profile = profile_of(name)
    with StatementFile(tmp_path / "whole", CsvForm(profile, MONDAY, "X1"), 500) as file:
        file.write(Lines(pa.array([f"A{n}" for n in range(9)]), np.arange(1, 10), "debit"))
    rows = file.path.read_bytes().splitlines(keepends=True)
    for kept in range(2 if name == "generic-csv" else 1, len(rows)):
        (tmp_path / "cut").write_bytes(b"".join(rows[:kept]))
        *_, footing = readers.read(tmp_path / "cut", [(profile.layouts, profile.currency)])
        assert isinstance(footing, Footing)
        assert [each.code for each in footing.problems] == ["STATEMENT_GAP"], kept


def test_charges_are_lines_of_their_own_where_the_bill_has_no_field_for_them(tmp_path: Path) -> None:
    profile = profile_of("alipay")
    send(tmp_path / "in", 30, profile=profile)
    played = play(tmp_path, "all=0,return_with_charges=1", profile=profile)
    told = [
        row
        for path in played.statements
        for part in readers.read(path, [(profile.layouts, profile.currency)])
        if isinstance(part, pa.RecordBatch)
        for row in part.to_pylist()
    ]
    kinds = Counter(row["kind"] for row in told)
    assert kinds == {"debit": 30, "return": 30, "charge": 30}
    assert {row["amount_minor"] for row in told if row["kind"] == "charge"} == {-550}
    assert sum(row["amount_minor"] for row in told) == -30 * 550


def test_weekends_wait_where_the_profile_has_business_days(tmp_path: Path) -> None:
    friday = date(2019, 1, 25)
    profile = profile_of("daikou-bank", booking=BookingMode.PER_DEBIT)
    send(tmp_path / "in", 50, on=friday, profile=profile)
    played = play(tmp_path, "all=0,closed_account=1", profile=profile)
    assert [path.name[:10] for path in played.statements] == ["2019-01-25", "2019-01-28"]
    text = played.statements[1].read_bytes().decode("gbk")
    assert text.count("代扣退回") == 50
    assert text.splitlines()[-1].split(",")[3] == "0.00"  # the running balance


@pytest.mark.parametrize("name", ["alipay", "wechat"])
def test_bills_of_wallets_are_in_their_own_words(tmp_path: Path, name: str) -> None:
    profile = profile_of(name)
    send(tmp_path / "in", 50, profile=profile)
    layout = profile.layouts.csv
    assert layout is not None
    text = play(tmp_path, "all=0,closed_account=1", profile=profile).statements[-1].read_bytes().decode(layout.encoding)
    assert text.splitlines()[0] == ",".join(layout.fields.values())
    assert "退款" in text
    assert not text.startswith("\ufeff")


def test_a_batch_is_booked_as_one_where_the_profile_says_so(tmp_path: Path) -> None:
    profile = profile_of("generic-csv", booking=BookingMode.GROSS_PER_BATCH)
    send(tmp_path / "in", 1_000, items=250)
    rows = list(every_row(play(tmp_path, "all=0,insufficient_funds=0.1", profile=profile)))
    batches = [row for row in rows if row["kind"] == "batch"]
    assert len({row["batch_reference"] for row in batches}) == len(batches) == 4
    assert sum(to_minor(row["amount"]) for row in batches) == amounts_of(np.arange(1_000)).sum()
    assert {(row["count"], row["reference"]) for row in batches} == {("250", "")}
    assert {row["kind"] for row in rows if row not in batches} == {"return"}
    wrong = list(every_row(play(tmp_path, "all=0,amount_mismatch=1", profile=profile, out="wrong")))
    assert all(one["amount"] != other["amount"] for one, other in zip(wrong, batches, strict=True))


def test_a_file_is_booked_net_of_what_was_not_paid_and_its_results_say_which(tmp_path: Path) -> None:
    profile = profile_of("daikou-bank")
    send(tmp_path / "in", 300, profile=profile, items=100)
    played = play(tmp_path, "all=0,insufficient_funds=0.1,closed_account=0.1,late_return=0.05", profile=profile)
    results, statements = played.statements[:3], played.statements[3:]
    assert [path.name[:18] for path in results] == ["2019-01-21-0001-B0"] * 3
    amounts, state = amounts_of(np.arange(300)), np.full(300, State.SENT, np.uint8)
    for path in results:
        *batches, footing = readers.read(path, [(profile.layouts, profile.currency)])
        assert isinstance(footing, Footing)
        assert not problems(footing, Tally())
        for row in (row for batch in batches if isinstance(batch, pa.RecordBatch) for row in batch.to_pylist()):
            seat = int(decode(pa.array([row["reference"]])).seat[0])
            if row["kind"] == "return":
                assert (row["amount_minor"], row["reason"] in ("0001", "78")) == (0, True)
                state[seat] = State.REJECTED
    refused = played.planted[Fault.INSUFFICIENT_FUNDS] + played.planted[Fault.CLOSED_ACCOUNT]
    assert np.count_nonzero(state == State.REJECTED) == refused > 20
    batch = (1 + np.arange(300) // 100).astype(np.int32)
    asked = Instructions(Kind.DEBIT, RUN, amounts, state, np.ones(300, np.uint8), batch=batch)
    matcher = Matcher([asked], booking=BookingMode.NET_PER_FILE)
    for path in statements:
        for part in readers.read(path, [(profile.layouts, profile.currency)]):
            if isinstance(part, pa.RecordBatch):
                matcher.take(part)
    matcher.finish()
    assert matcher.tally.of(Outcome.MATCHED).count == played.lines == 3 + played.planted[Fault.LATE_RETURN]
    found = Counter(matcher.instructions[Kind.DEBIT, RUN].state.tolist())
    late = played.planted[Fault.LATE_RETURN]
    assert found == {State.BOOKED: 300 - refused - late, State.REJECTED: refused, State.RETURNED: late}


def test_camt_tells_the_same_as_csv(tmp_path: Path) -> None:
    send(tmp_path / "in", 300)
    played = play(tmp_path, "return_with_charges=0.2,not_ours=0.1,truncated_file=0", formats=list(FORMATS))
    csvs, camts = played.statements[::2], played.statements[1::2]
    space = "{urn:iso:std:iso:20022:tech:xsd:camt.053.001.08}"
    for path, camt in zip(csvs, camts, strict=True):
        tree = ET.parse(camt).getroot()  # noqa: S314 - we wrote it
        told = []
        for entry in tree.iter(f"{space}Ntry"):
            text = {each.tag.removeprefix(space): each.text for each in entry.iter()}
            sign = "" if text["CdtDbtInd"] == "CRDT" else "-"
            reference = (text["EndToEndId"] or "").replace("NOTPROVIDED", "")
            amount = sign + (entry.findtext(f"{space}Amt") or "")
            told.append((amount, reference, text["AcctSvcrRef"]))
        rows = rows_of(path)
        assert told == [(row["amount"], row["reference"], row["bank_reference"]) for row in rows]
        balances = [balance.findtext(f"{space}Amt") for balance in tree.iter(f"{space}Bal")]
        assert balances == [totals_of(path)[name] for name in ("opening", "closing")]


def test_an_account_may_hold_money_before_its_first_statement(tmp_path: Path) -> None:
    days = DEBIT_ON, DEBIT_ON + timedelta(days=1)
    for attempt, on in enumerate(days, 1):
        send(tmp_path / "in", 10, attempt=attempt, on=on)
    first, last = (
        totals_of(path) for on in days for path in play(tmp_path, until=on, opening_minor=1_000_00).statements
    )
    assert (first["opening"], last["opening"]) == ("1000.00", first["closing"])
    assert to_minor(first["closing"]) == 1_000_00 + to_minor(first["credits"])


def test_camt_is_valid_by_the_schema_of_iso_20022(tmp_path: Path) -> None:
    """The schema is that of version 13, which all of version 8 that is written here went into unchanged."""
    schema = etree.XMLSchema(etree.parse(files("openpurse") / "schemas" / "camt.053.001.13.xsd"))
    send(tmp_path / "in", 300)
    for booking in (BookingMode.PER_DEBIT, BookingMode.GROSS_PER_BATCH):
        profile = profile_of("generic-csv", booking=booking)
        rates = "return_with_charges=0.2,not_ours=0.1,truncated_file=0"
        for path in play(tmp_path, rates, profile=profile, formats=["camt.053"]).statements:
            message = path.read_bytes()
            assert b"camt.053.001.08" in message
            schema.assertValid(etree.fromstring(message.replace(b"camt.053.001.08", b"camt.053.001.13")))


def test_a_debit_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    send(tmp_path / "in", 50)
    (file,) = (path for path in (tmp_path / "in").glob("*.csv"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match="not as its manifest says"):
        play(tmp_path)
    assert list((tmp_path / "out").glob("20*")) == []


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ("dog=1", "known: all, insufficient_funds"),
        ("duplicate", "write fault=rate"),
        ("duplicate=2", "from 0 to 1"),
        ("duplicate=nan", "from 0 to 1"),
        ("all=0.2", "sum to more than 1"),
    ],
)
def test_rates_that_cannot_be_are_refused(rates: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Rates.read(rates)


@pytest.mark.parametrize(
    ("profile", "message"),
    [("mock-bank", "no layouts.csv"), ("unionpay", "books net per file, and has no layouts.daikou")],
)
def test_what_it_does_not_play_is_said(tmp_path: Path, profile: str, message: str) -> None:
    send(tmp_path / "in", 10)
    with pytest.raises(InvalidInput, match=message):
        play(tmp_path, profile=profile_of(profile))


def test_the_command_is_a_process_of_its_own(tmp_path: Path) -> None:
    send(tmp_path / "in", 500)
    command = [sys.executable, "-m", "engine.cli.main", "simulate", "custodian", "--seed", "5"]
    folders = ["--in", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, *folders, "--rates", "all=0"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "2019-01-21-0001.csv"
    assert "500 lines; planted: 0 insufficient_funds" in done.stdout
    refused = subprocess.run([*command, *folders, "--profile", "dog"], capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.splitlines()[0][:24]) == (1, "fentan: no custodian dog")
