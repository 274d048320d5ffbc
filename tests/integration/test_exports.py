"""Exports on real PostgreSQL: what a spreadsheet opens unharmed, proved by a manifest, the same bytes each time."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lxml import etree
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import InvalidInput
from engine.reconcile.exports.contents import tables_of_account, tables_of_run
from engine.reconcile.exports.folder import Format, export
from engine.reconcile.exports.formats import harmless
from engine.reconcile.exports.tables import AMOUNT, COUNT, DAY, TEXT, Table, columns, of_rows
from tests.integration.bank_statement import BOOKED_ON, Line
from tests.integration.reconciling import Asked, asked

pytestmark = pytest.mark.integration

NAMES = ["summary", "breaks", "returns", "lines", "postings", "audit", "files"]
SHEETS = ["Summary proof", "Breaks", "Returns", "Lines", "Postings", "Audit", "File hashes"]
DAYS = (BOOKED_ON - timedelta(days=1), BOOKED_ON + timedelta(days=1))
SMALL = columns(id=TEXT, amount=AMOUNT, count=COUNT, on=DAY)


async def answered(engine: AsyncEngine, folder: Path) -> Asked:
    """Four debits: one came, one came back, one came short, one was refused; and a line that nobody knows."""
    folder.mkdir(exist_ok=True)
    world = await asked(engine, folder)
    await world.takes(
        Line(10, world.reference(0)),
        Line(10, world.reference(1)),
        Line(-12, world.reference(1), "return", reason="AM04", original=10, charges=2),
        Line(9, world.reference(2)),
        Line(0, world.reference(3), "return", reason="MD06", original=10),
        Line(500, "=1+1", "other"),
    )
    return world


async def exported(world: Asked, folder: Path, format_: Format, *, of_run: bool = True, **how: Any) -> dict[str, Any]:
    async with world.world.engine.connect() as connection:
        if of_run:
            tables = await tables_of_run(connection, world.run.run_id)
        else:
            tables = await tables_of_account(connection, world.custodian, *DAYS)
        return await export(tables, folder, "a test", format_, **how)


def read_csv(path: Path) -> list[dict[str, str]]:
    content = path.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))


def cells(path: Path, number: int) -> list[list[str]]:
    """The texts and numbers of a sheet, as they stand in its XML."""
    with zipfile.ZipFile(path) as book:
        root = etree.fromstring(book.read(f"xl/worksheets/sheet{number}.xml"))
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("{*}row")]


async def small(folder: Path, format_: Format, rows: list[tuple[Any, ...]], **how: Any) -> dict[str, Any]:
    table = Table("small", "Small", SMALL, of_rows(SMALL, rows))
    return await export([table], folder, "a test", format_, **how)


async def test_a_run_is_handed_out_as_csv_with_its_manifest(engine: AsyncEngine, tmp_path: Path) -> None:
    world, folder = await answered(engine, tmp_path / "files"), tmp_path / "out"
    manifest = await exported(world, folder, Format.CSV)
    assert json.loads((folder / "manifest.json").read_text("utf-8")) == manifest
    assert [each["table"] for each in manifest["tables"]] == NAMES
    for each in manifest["files"]:
        content = (folder / each["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each["bytes"], each["sha256"])
    rows = {name: read_csv(folder / f"{name}.csv") for name in NAMES}
    assert {each["table"]: each["rows"] for each in manifest["tables"]} == {name: len(rows[name]) for name in NAMES}
    for each in manifest["tables"]:
        for column, total in each["totals"].items():
            assert sum(Decimal(row[column] or 0) for row in rows[each["table"]]) == Decimal(total)
    assert rows["summary"][0] == {"part": "assessed", "reason": "", "count": "4", "amount": "0.40"}
    assert [(row["seat"], row["state"], row["reason"], row["amount"]) for row in rows["returns"]] == [
        ("3", "rejected", "MD06", "0.10"),
        ("1", "returned", "AM04", "0.10"),
    ]
    assert [(row["code"], row["seat"], row["amount"], row["suspense"]) for row in rows["breaks"]] == [
        ("AMOUNT_MISMATCH", "2", "0.09", "0.09")
    ]
    assert [row["reference"] for row in rows["lines"]] == [world.reference(2)]
    assert sum(Decimal(row["amount"]) for row in rows["postings"]) == 0
    assert {"instruct run", "seal"} & {row["act"] for row in rows["audit"]} == {"instruct run"}
    assert [row["kind"] for row in rows["files"]] == ["sent, D", "statement 1"]


async def test_a_run_hands_out_no_break_that_only_shares_its_number(engine: AsyncEngine, tmp_path: Path) -> None:
    world, folder = await answered(engine, tmp_path / "files"), tmp_path / "out"
    for kind in "RALTS":
        await world.world.sql(
            "INSERT INTO breaks (custodian_id, plan_id, code, run_id, kind, attempt, seat, amount_minor,"
            " suspense_minor, opened_on) SELECT custodian_id, plan_id, 'DUPLICATE_AT_BANK', run_id, :kind, 1, 2, 9, 0,"
            " opened_on FROM breaks WHERE code = 'AMOUNT_MISMATCH'",
            kind=kind,
        )
    await exported(world, folder, Format.CSV)
    assert [row["code"] for row in read_csv(folder / "breaks.csv")] == ["AMOUNT_MISMATCH"]


async def test_an_account_is_handed_out_over_its_days(engine: AsyncEngine, tmp_path: Path) -> None:
    world, folder = await answered(engine, tmp_path / "files"), tmp_path / "out"
    await exported(world, folder, Format.PARQUET, of_run=False)
    strip = pq.read_table(folder / "summary.parquet").to_pylist()
    assert [(row["date"], row["closing"], row["book"], row["difference"]) for row in strip] == [
        (BOOKED_ON - timedelta(days=1), Decimal("0.00"), Decimal("0.00"), Decimal("0.00")),
        (BOOKED_ON, Decimal("5.17"), Decimal("5.17"), Decimal("0.00")),
        (BOOKED_ON + timedelta(days=1), Decimal("5.17"), Decimal("5.17"), Decimal("0.00")),
    ]
    lines = pq.read_table(folder / "lines.parquet")
    assert (lines.schema.field("amount").type, lines["statement"].type) == (AMOUNT, TEXT)
    assert lines["reference"].to_pylist() == [world.reference(2), "#bac90eef5bf3"]
    assert len(pq.read_table(folder / "returns.parquet")) == 2


@pytest.mark.parametrize("format_", Format)
@pytest.mark.parametrize("of_run", [True, False])
async def test_the_same_books_give_the_same_bytes(
    engine: AsyncEngine, tmp_path: Path, format_: Format, of_run: bool
) -> None:
    world = await answered(engine, tmp_path / "files")
    first, second = tmp_path / "first", tmp_path / "second"
    assert await exported(world, first, format_, of_run=of_run) == await exported(world, second, format_, of_run=of_run)
    assert await exported(world, first, format_, of_run=of_run)  # over the earlier one
    there = {path.name: path.read_bytes() for path in first.iterdir()}
    assert there == {path.name: path.read_bytes() for path in second.iterdir()}


async def test_a_workbook_has_a_sheet_for_each_table(engine: AsyncEngine, tmp_path: Path) -> None:
    world, folder = await answered(engine, tmp_path / "files"), tmp_path / "out"
    manifest = await exported(world, folder, Format.XLSX, of_run=False)
    book = folder / "reconciliation.xlsx"
    assert {each["file"] for each in manifest["tables"]} == {book.name}
    with zipfile.ZipFile(book) as parts:
        names = etree.fromstring(parts.read("xl/workbook.xml")).iter("{*}sheet")
        assert [sheet.get("name") for sheet in names] == SHEETS
        assert b"2000-01-01T00:00:00Z" in parts.read("docProps/core.xml")
        assert all(b"<f>" not in parts.read(name) for name in parts.namelist())
    strip = cells(book, 1)
    assert strip[0][:3] == ["account", "date", "opening"]
    assert (strip[2][0], strip[2][5], strip[2][6]) == ("generic-csv", "5.17", "5.17")
    assert cells(book, 4)[2][5:7] == ["5.00", "#bac90eef5bf3"]


ODD = ["=SUM(A1)", "+86", "-2", "@x", "\tx", "007", "123456789012", "12E5", "plain", "1.5", "", None, "a=b", "中文"]


async def test_csv_holds_nothing_that_a_spreadsheet_runs_or_rounds(tmp_path: Path) -> None:
    await small(tmp_path, Format.CSV, [(text, -5, 1, date(2019, 7, 14)) for text in ODD])
    rows = read_csv(tmp_path / "small.csv")
    marked = [f"'{text}" for text in ODD[:8] if text]
    assert [row["id"] for row in rows] == [*marked, "plain", "1.5", "", "", "a=b", "中文"]
    assert {(row["amount"], row["count"], row["on"]) for row in rows} == {("-0.05", "1", "2019-07-14")}
    assert b'\n"plain",-0.05,1,2019-07-14\n' in (tmp_path / "small.csv").read_bytes()


def test_what_is_no_text_is_let_be() -> None:
    batch = pa.RecordBatch.from_pydict({"amount": [Decimal("-1.00")], "count": [-1]})
    assert harmless(batch) == batch


async def test_a_workbook_keeps_amounts_that_its_numbers_would_round_as_text(tmp_path: Path) -> None:
    exact, too_long = 10**15 - 1, 10**15
    await small(tmp_path, Format.XLSX, [("=1+1", exact, 3, date(2019, 7, 14)), ("b", too_long, None, None)])
    rows = cells(tmp_path / "reconciliation.xlsx", 1)
    assert rows[1] == ["=1+1", "9999999999999.99", "3", "43660"]
    assert rows[2][:2] == ["b", "10000000000000.00"]


@pytest.mark.parametrize("format_", [Format.CSV, Format.XLSX])
async def test_what_is_too_long_for_a_spreadsheet_is_parquet(tmp_path: Path, format_: Format) -> None:
    rows = [(number, number, number, None) for number in range(4)]
    manifest = await small(tmp_path, format_, rows, rows_max=3)
    assert manifest["tables"][0]["file"] == "small.parquet"
    assert pq.read_table(tmp_path / "small.parquet")["id"].to_pylist() == ["0", "1", "2", "3"]
    if format_ is Format.XLSX:
        assert cells(tmp_path / "reconciliation.xlsx", 1) == [["4 rows are too many for a sheet: see small.parquet"]]
    await small(tmp_path, format_, rows[:3], rows_max=3)
    assert not (tmp_path / "small.parquet").exists()


async def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    manifest = await small(tmp_path, Format.CSV, [])
    assert (manifest["tables"][0]["rows"], manifest["tables"][0]["totals"]) == (0, {"amount": "0"})
    assert (tmp_path / "small.csv").read_text("utf-8-sig") == '"id","amount","count","on"\n'


async def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(InvalidInput, match="holds other files; name a new folder"):
        await small(tmp_path, Format.CSV, [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InvalidInput, match="cannot be written to"):
        await small(tmp_path / "mine.txt", Format.CSV, [])
