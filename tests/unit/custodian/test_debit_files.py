"""Debit files: what stands in them to the byte, that others accept them, and what is never written."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sepaxml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from mockbank import validate  # type: ignore[import-untyped]

from engine.custodian.debit_files import SCHEMA, Batch, Manifest, Rewritten, write
from engine.custodian.debit_files.batch import AMOUNT_MOST
from engine.custodian.debit_files.manifest import all_in
from engine.custodian.profile import AccountNumbers, BookingMode, Profile, load
from engine.custodian.reference import Kind, Reference, encode
from engine.errors import InvalidInput
from tests.full_disk import full_disk

RUN, ATTEMPT = 14, 1
NUMBERS = AccountNumbers("NL41MOCK0000000001", "NL41ZZZ000000000001")
BATCH = Batch(RUN, ATTEMPT, dt.date(2026, 10, 1), dt.datetime(2026, 9, 30, 9, 30, tzinfo=dt.UTC))
ISO = ["pain.008.001.08", "pain.008.001.02"]


def limited(name: str, **limits: int) -> Profile:
    profile = load(name)
    return profile.model_copy(update={"limits": profile.limits.model_copy(update=limits)})


def iso(version: str, **texts: str) -> Profile:
    profile = load("mock-bank")
    return profile.model_copy(update={"debits": profile.debits.model_copy(update={"format": version, **texts})})


def debits(seats: Sequence[int], amounts: Sequence[int], **columns: Sequence[Any]) -> pa.RecordBatch:
    """Debits of these seats; other columns of SCHEMA as given, or made up."""
    made: dict[str, Any] = {
        "reference": encode(Kind.DEBIT, RUN, ATTEMPT, np.array(seats, np.int64)),
        "account": [f"NL41MOCK{seat:010}" for seat in seats],
        "amount_minor": amounts,
        "mandate_id": [f"M-{seat}" for seat in seats],
        "signed_on": [dt.date(2025, 1, 31)] * len(seats),
        **columns,
    }
    return pa.record_batch([pa.array(made[name], SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)


def cards(seats: Sequence[int], amounts: Sequence[int]) -> pa.RecordBatch:
    return debits(seats, amounts, account=[f"622202{seat:010}" for seat in seats])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_csv_file_to_the_byte(tmp_path: Path) -> None:
    (known,) = write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [debits([1000, 7], [3, 123_456])])
    text = (tmp_path / known.file).read_text("utf-8")
    assert text == (
        "reference,account,amount,currency,debit_on\n"
        f"D00000E10000RS48,NL41MOCK0000001000,0.03,CNY,2026-10-01\n"
        f"{Reference(Kind.DEBIT, RUN, ATTEMPT, 7)},NL41MOCK0000000007,1234.56,CNY,2026-10-01\n"
    )
    assert known.file == f"{Reference(Kind.BATCH, RUN, ATTEMPT, 1)}.csv"


def test_a_daikou_file_to_the_byte(tmp_path: Path) -> None:
    (known,) = write(tmp_path, load("daikou-bank"), NUMBERS, BATCH, [cards([1000, 7], [3, 123_456])])
    assert (tmp_path / known.file).read_bytes() == (
        "2|1234.59\r\n"
        "D00000E10000RS48|6222020000001000|0.03|CNY|互助分摊\r\n"
        f"{Reference(Kind.DEBIT, RUN, ATTEMPT, 7)}|6222020000000007|1234.56|CNY|互助分摊\r\n"
    ).encode("gbk")


def test_amounts_in_fen_and_days_without_hyphens(tmp_path: Path) -> None:
    (known,) = write(tmp_path, load("unionpay"), NUMBERS, BATCH, [cards([1000], [123])])
    text = (tmp_path / known.file).read_text("gbk")
    assert text.splitlines() == ["1|123", "D00000E10000RS48|6222020000001000|123|20261001|互助分摊"]


def test_a_manifest_says_what_its_file_is(tmp_path: Path) -> None:
    (known,) = write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [debits([1, 2], [5, 6])])
    data = (tmp_path / known.file).read_bytes()
    assert (known.count, known.amount_minor, known.currency) == (2, 11, "CNY")
    assert (known.bytes, known.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert all_in(tmp_path) == [known]
    known.check(tmp_path)
    assert "NL41" not in known.text()


@pytest.mark.parametrize("name", ["generic-csv", "daikou-bank", "unionpay", "wechat", "alipay", "mock-bank"])
def test_the_same_batch_written_twice_is_the_same_bytes(tmp_path: Path, name: str) -> None:
    made = debits if name == "mock-bank" else cards
    profile = limited(name, max_items_per_file=4)
    rows = made(range(10), range(1, 11))
    folders = [tmp_path / each for each in ("one", "other", "sliced")]
    for folder, given_as in zip(
        folders, ([rows], [rows], [rows.slice(0, 3), rows.slice(3, 0), rows.slice(3)]), strict=True
    ):
        folder.mkdir()
        write(folder, profile, NUMBERS, BATCH, given_as)
        write(folder, profile, NUMBERS, BATCH, given_as)
    assert contents(folders[0]) == contents(folders[1]) == contents(folders[2])
    assert len(contents(folders[0])) == 3 * 2


@given(
    st.lists(st.integers(1, AMOUNT_MOST), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(10_000, 12_000),
    st.integers(1, 25),
)
@settings(max_examples=40)
def test_files_keep_the_limits_and_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[int], items: int, size: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    rows = debits(range(len(amounts)), amounts)
    given_as = [rows.slice(start, cut) for start in range(0, len(amounts), cut)]
    profile = limited("mock-bank", max_items_per_file=items, max_bytes=size)
    written = write(folder, profile, NUMBERS, BATCH, given_as)
    assert all(known.count <= items and known.bytes <= size for known in written)
    assert [known.reference for known in written] == [
        str(Reference(Kind.BATCH, RUN, ATTEMPT, number)) for number in range(1, len(written) + 1)
    ]
    found = [
        (reference, int(Decimal(amount) * 100))
        for known in written
        for reference, amount in instructed((folder / known.file).read_bytes())
    ]
    assert found == list(zip(rows.column("reference").to_pylist(), amounts, strict=True))
    assert sum(known.amount_minor for known in written) == sum(amounts)


@given(
    st.lists(st.tuples(st.integers(0, 36**6 - 1), st.integers(1, AMOUNT_MOST)), max_size=50, unique_by=lambda t: t[0])
)
@settings(max_examples=40)
def test_another_reader_of_csv_finds_what_was_asked(
    tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    rows = debits([seat for seat, _ in asked], [amount for _, amount in asked])
    found = []
    for known in write(folder, load("generic-csv"), NUMBERS, BATCH, [rows]):
        text = (folder / known.file).read_text("utf-8")
        found += [
            (Reference.read(row["reference"]).seat, int(Decimal(row["amount"]) * 100))
            for row in csv.DictReader(io.StringIO(text))
        ]
    assert found == asked


def instructed(data: bytes) -> Iterator[tuple[str, str]]:
    """End-to-end id and amount of each debit, as another reader has it."""
    space = {"p": (root := etree.fromstring(data)).nsmap[None]}
    for debit in root.iterfind(".//p:DrctDbtTxInf", space):
        yield debit.findtext("p:PmtId/p:EndToEndId", None, space), debit.findtext("p:InstdAmt", None, space)


def schema_of(version: str) -> Any:
    return etree.XMLSchema(etree.parse(Path(sepaxml.__file__).parent / "schemas" / f"{version}.xsd"))


@pytest.mark.parametrize("version", ISO)
@pytest.mark.parametrize("sequence", ["FRST", "RCUR", "OOFF", "FNAL"])
def test_a_pain_008_is_valid_by_the_schema_of_iso_20022(tmp_path: Path, version: str, sequence: Any) -> None:
    batch = Batch(RUN, ATTEMPT, BATCH.debit_on, BATCH.created_at, sequence)
    profile = iso(version, purpose='Aid <shared> & "split"', payer_name="Nobody & Co")
    (known,) = write(tmp_path, profile, NUMBERS, batch, [debits([0, 36**6 - 1], [1, AMOUNT_MOST])])
    tree = etree.parse(tmp_path / known.file)
    schema_of(version).assertValid(tree)
    assert f">{sequence}<" in (tmp_path / known.file).read_text("utf-8")
    assert tree.findtext(".//{*}Ustrd") == 'Aid <shared> & "split"'


Totals = tuple[int, Decimal]


def totals_of(element: Any) -> Totals:
    """The count and sum that a message's header or a batch states."""
    return int(element.findtext("{*}NbOfTxs")), Decimal(element.findtext("{*}CtrlSum"))


def batches_of(document: Any) -> Iterator[tuple[tuple[str, str], Totals]]:
    """Of each `PmtInf` its day and sequence type, and its totals."""
    for each in document.iter("{*}PmtInf"):
        yield (each.findtext("{*}ReqdColltnDt"), each.findtext("{*}PmtTpInf/{*}SeqTp")), totals_of(each)


def added(totals: Iterable[Totals]) -> Totals:
    counts, sums = zip(*totals, strict=True)
    return sum(counts), sum(sums)


@pytest.mark.parametrize("version", ISO)
def test_totals_are_those_of_another_writer(tmp_path: Path, version: str) -> None:
    """Several batches of a day: first and later debits of mandates, on two days, each in files of at most three.

    The other writer puts all of them into one message, a `PmtInf` for each day and sequence type.
    """
    schema = schema_of(version)
    config = {
        "name": "ACME", "IBAN": "NL41MOCK0000000001", "BIC": "MOCKNL2A", "batch": True,
        "creditor_id": "NL41ZZZ000000000001", "currency": "EUR",
    }  # fmt: skip
    other = sepaxml.SepaDD(config, schema=version, clean=True)
    profile = iso(version).model_copy(update={"limits": limited("mock-bank", max_items_per_file=3).limits})
    ours: dict[tuple[str, str], list[Totals]] = defaultdict(list)
    days = (BATCH.debit_on, BATCH.debit_on + dt.timedelta(days=1))
    sequences: tuple[Any, ...] = ("FRST", "RCUR")
    for number, (day, sequence) in enumerate(itertools.product(days, sequences)):
        seats, amounts = range(10 * number, 10 * number + 7), [1, 99, 100, 123_456, 7, AMOUNT_MOST, 10 + number]
        for seat, amount in zip(seats, amounts, strict=True):
            other.add_payment(
                {
                    "name": "NOTPROVIDED", "IBAN": f"NL41MOCK{seat:010}", "BIC": "MOCKNL2A", "amount": amount,
                    "type": sequence, "collection_date": day, "mandate_id": f"M-{seat}",
                    "mandate_date": dt.date(2025, 1, 31), "description": "Mutual aid share",
                }
            )  # fmt: skip
        batch = Batch(RUN, ATTEMPT, day, BATCH.created_at, sequence, first_file=1 + 100 * number)
        files = write(tmp_path, profile, NUMBERS, batch, [debits(seats, amounts)])
        assert [each.count for each in files] == [3, 3, 1]
        for known in files:
            document = etree.parse(tmp_path / known.file)
            schema.assertValid(document)
            ((key, totals),) = batches_of(document.getroot())
            stated = totals_of(document.find(".//{*}GrpHdr"))
            assert stated == totals == (known.count, Decimal(known.amount_minor) / 100)
            ours[key].append(totals)
    theirs = etree.fromstring(other.export(validate=False))
    assert {key: added(totals) for key, totals in ours.items()} == dict(batches_of(theirs))
    assert added(itertools.chain(*ours.values())) == totals_of(theirs.find(".//{*}GrpHdr"))


def test_the_bank_of_the_tests_finds_nothing_wrong(tmp_path: Path) -> None:
    accounts = ["NL41MOCK0000000001", "NL41MOCK0000000001"]
    (known,) = write(tmp_path, iso(ISO[0]), NUMBERS, BATCH, [debits([1, 2], [125_000, 1], account=accounts)])
    read, findings = validate.inspect((tmp_path / known.file).read_bytes(), today=dt.date(2026, 9, 30))
    assert [validate.render(finding) for finding in findings] == []
    assert read is not None


def test_a_batch_is_booked_as_the_profile_says(tmp_path: Path) -> None:
    for booking, words in ((BookingMode.PER_DEBIT, "false"), (BookingMode.GROSS_PER_BATCH, "true")):
        profile = iso(ISO[0]).model_copy(update={"booking": booking})
        folder = tmp_path / booking
        folder.mkdir()
        (known,) = write(folder, profile, NUMBERS, BATCH, [debits([1], [1])])
        assert f"<BtchBookg>{words}</BtchBookg>" in (folder / known.file).read_text("utf-8")


HOSTILE = ["=1+1", "+8613800000000", "-1", "@SUM(A1)", "\t1", "1,2", '1"2', "1\n2", "1\r2", "1|2", "1;2", "1<2", "1&2",
           "", " 1", "1 ", "1é", "１", "1\x002", "1]]>", "9" * 36]  # fmt: skip


@pytest.mark.parametrize("column", ["account", "mandate_id"])
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", ["generic-csv", "mock-bank"])
def test_no_text_means_anything_to_who_reads_the_file(tmp_path: Path, name: str, column: str, text: str) -> None:
    if (name, column) == ("generic-csv", "mandate_id"):
        assert write(tmp_path, load(name), NUMBERS, BATCH, [debits([8], [1], mandate_id=[text])])  # nowhere in the file
        return
    good = {"account": "NL41MOCK0000000001", "mandate_id": "M-1"}[column]
    rows = debits([7, 8, 9], [1, 1, 1], **{column: [good, text, good]})
    with pytest.raises(InvalidInput, match=rf"^debit 2 \({Reference(Kind.DEBIT, RUN, ATTEMPT, 8)}\): {column}: ") as no:
        write(tmp_path, load(name), NUMBERS, BATCH, [rows])
    assert len(text) < 3 or text not in str(no.value)
    assert contents(tmp_path) == {}


def test_only_the_rows_of_a_slice_are_looked_at(tmp_path: Path) -> None:
    rows = debits([7, 8, 9], [1, 1, 1], account=["=1", "NL41", "+1"])
    (known,) = write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [rows.slice(1, 1)])
    assert (known.count, known.amount_minor) == (1, 1)
    with pytest.raises(InvalidInput, match=r"debit 2 .*account: is not of 1 to 35"):
        write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [rows.slice(1)])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"amount_minor": [1, 0]}, "amount_minor: is not from 1 to"),
        ({"amount_minor": [1, -5]}, "amount_minor: is not from 1 to"),
        ({"amount_minor": [1, AMOUNT_MOST + 1]}, "amount_minor: is not from 1 to"),
        ({"amount_minor": [1, 2**63 - 1]}, "amount_minor: is not from 1 to"),
        (
            {"account": ["NL41MOCK0000000001", "DE00"]},
            r"account: is none that mock-bank takes \(debits.account_pattern\)",
        ),
        ({"signed_on": [dt.date(2025, 1, 31), dt.date(2026, 10, 2)]}, "the mandate is signed after the debit day"),
        ({"signed_on": [dt.date(2025, 1, 31), None]}, "signed_on: missing, and mock-bank needs it"),
        ({"mandate_id": ["M-1", None]}, "mandate_id: missing, and mock-bank needs it"),
    ],
)
def test_a_debit_that_may_not_leave_is_named_and_nothing_is_left(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    rows = debits([1000, 7], [1, 1], **columns)
    with pytest.raises(InvalidInput, match=rf"debit 2 \({Reference(Kind.DEBIT, RUN, ATTEMPT, 7)}\): .*{words}"):
        write(tmp_path, limited("mock-bank", max_items_per_file=1), NUMBERS, BATCH, [debits([5], [1]), rows])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "reference",
    [
        str(Reference(Kind.DEBIT, RUN + 1, ATTEMPT, 7)),
        str(Reference(Kind.DEBIT, RUN, ATTEMPT + 1, 7)),
        str(Reference(Kind.REFUND, RUN, ATTEMPT, 7)),
        "D00000E10000RS84",
        "NL41MOCK0000000001",
    ],
)
def test_a_reference_of_something_else_is_refused(tmp_path: Path, reference: str) -> None:
    with pytest.raises(InvalidInput, match="reference: is none of a debit of run 14, attempt 1") as refused:
        write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [debits([7], [1], reference=[reference])])
    assert "NL41" not in str(refused.value)


def test_nobody_is_debited_twice_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="seat 7 would be debited twice"):
        write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [debits([7, 3], [1, 1]), debits([9, 7], [1, 1])])
    assert contents(tmp_path) == {}


def test_a_finished_file_is_never_written_over(tmp_path: Path) -> None:
    profile = limited("generic-csv", max_items_per_file=1)
    write(tmp_path, profile, NUMBERS, BATCH, [debits([7], [1])])
    before = contents(tmp_path)
    with pytest.raises(Rewritten, match="was written before with other content"):
        write(tmp_path, profile, NUMBERS, BATCH, [debits([7, 8], [2, 2])])
    assert contents(tmp_path) == before


def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    profile, rows = limited("generic-csv", max_items_per_file=1), debits([7, 8, 9], [1, 2, 3])
    whole = tmp_path / "whole"
    whole.mkdir()
    written = write(whole, profile, NUMBERS, BATCH, [rows])
    names = [*contents(whole), *(f"{known.file}.part" for known in written)]
    for number, left in enumerate(itertools.combinations(names, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in left:
            finished = not name.endswith(".part")
            data = (whole / name).read_bytes() if finished else b"half a fi"
            (folder / name).write_bytes(data)
            if name.endswith(".manifest.json"):  # the file has its name before its manifest has
                file = Manifest.model_validate_json(data).file
                (folder / file).write_bytes((whole / file).read_bytes())
        assert write(folder, profile, NUMBERS, BATCH, [rows]) == written
        assert contents(folder) == contents(whole)


def test_a_disk_that_is_full_is_left_as_it_was(tmp_path: Path) -> None:
    rows = debits(range(1, 4000), [1] * 3999)
    with pytest.raises(OSError, match="large"), full_disk(100_000):
        write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [rows])
    assert contents(tmp_path) == {}


def test_a_file_changed_after_it_was_written_is_found(tmp_path: Path) -> None:
    (known,) = write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [debits([7], [1])])
    path = tmp_path / known.file
    path.write_bytes(path.read_bytes().replace(b"0.01", b"9.01"))
    with pytest.raises(InvalidInput, match="is not as its manifest says"):
        known.check(tmp_path)
    with pytest.raises(InvalidInput, match="is not as its manifest says"):
        write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [debits([7], [1])])
    path.unlink()
    with pytest.raises(InvalidInput, match="No such file"):
        known.check(tmp_path)


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ('"count": 1', '"count": "1"', "count: write a whole number"),
        ('"count": 1', '"counts": 1', "counts: unknown key"),
        (".csv", "/../x.csv", "file: "),
        ("{", "", "JSON"),
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, was: str, becomes: str, words: str) -> None:
    (known,) = write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [debits([7], [1])])
    path = tmp_path / f"{known.reference}.manifest.json"
    path.write_text(path.read_text("utf-8").replace(was, becomes), "utf-8")
    with pytest.raises(InvalidInput, match=words):
        all_in(tmp_path)


def test_a_batch_of_nothing_is_no_file(tmp_path: Path) -> None:
    assert write(tmp_path, load("mock-bank"), NUMBERS, BATCH, []) == []
    assert write(tmp_path, load("mock-bank"), NUMBERS, BATCH, [debits([], [])]) == []
    assert contents(tmp_path) == {}


def test_what_a_batch_needs_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs its time zone"):
        Batch(1, 1, BATCH.debit_on, dt.datetime(2026, 9, 30))  # noqa: DTZ001 - what is refused
    with pytest.raises(InvalidInput, match="needs the creditor's id"):
        write(tmp_path, load("mock-bank"), AccountNumbers("NL41MOCK0000000001"), BATCH, [])
    with pytest.raises(InvalidInput, match="CUSTODIAN_MOCK_BANK_IBAN is no IBAN"):
        write(tmp_path, load("mock-bank"), AccountNumbers("12345", "NL41ZZZ000000000001"), BATCH, [])
    with pytest.raises(InvalidInput, match="holds not even one debit"):
        write(tmp_path, limited("mock-bank", max_bytes=1000), NUMBERS, BATCH, [debits([1], [1])])
    with pytest.raises(InvalidInput, match="need a column mandate_id of string"):
        write(tmp_path, load("mock-bank"), NUMBERS, BATCH, [debits([1], [1]).drop_columns("mandate_id")])


def test_formats_without_mandates_do_not_ask_for_them(tmp_path: Path) -> None:
    rows = debits([1], [1]).drop_columns(["mandate_id", "signed_on"])
    assert write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [rows])


def test_batches_of_one_attempt_count_their_files_on(tmp_path: Path) -> None:
    first = write(tmp_path, load("mock-bank"), NUMBERS, BATCH, [debits([1], [1])])
    on = Batch(RUN, ATTEMPT, BATCH.debit_on, BATCH.created_at, "FRST", first_file=1 + len(first))
    (known,) = write(tmp_path, load("mock-bank"), NUMBERS, on, [debits([2], [1])])
    assert Reference.read(known.reference) == Reference(Kind.BATCH, RUN, ATTEMPT, 2)
    assert len(all_in(tmp_path)) == 2
