"""Files of aid and refunds: valid by the schemas of ISO 20022, with another writer's totals, and CSV where told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sepaxml  # type: ignore[import-untyped]
from lxml import etree
from mockbank import validate  # type: ignore[import-untyped]

from engine.custodian.debit_files import SCHEMA, Batch, write
from engine.custodian.debit_files.batch import AMOUNT_MOST
from engine.custodian.profile import AccountNumbers, BookingMode, Profile, load
from engine.custodian.reference import Kind, Reference, encode
from engine.errors import InvalidInput

RUN, ATTEMPT, FIRST = 14, 1, 2_000_001
NUMBERS = AccountNumbers("NL41MOCK0000000001")
BATCH = Batch(
    RUN, ATTEMPT, dt.date(2026, 10, 1), dt.datetime(2026, 9, 30, 9, 30, tzinfo=dt.UTC),
    first_file=FIRST, kind=Kind.PAYOUT,
)  # fmt: skip
VERSIONS = ["pain.001.001.09", "pain.001.001.03"]
COLUMNS = ["reference", "account", "amount_minor"]


def iso(version: str, **texts: str) -> Profile:
    profile = load("mock-bank")
    assert profile.payouts is not None
    return profile.model_copy(update={"payouts": profile.payouts.model_copy(update={"format": version, **texts})})


def payouts(seats: Sequence[int], amounts: Sequence[int], kind: Kind = Kind.PAYOUT) -> pa.RecordBatch:
    made = {
        "reference": encode(kind, RUN, ATTEMPT, np.array(seats, np.int64)),
        "account": [f"NL41MOCK{seat:010}" for seat in seats],
        "amount_minor": amounts,
    }
    schema = pa.schema([SCHEMA.field(name) for name in COLUMNS])
    return pa.record_batch([pa.array(made[name], SCHEMA.field(name).type) for name in COLUMNS], schema=schema)


def parsed(path: Path) -> Any:
    return etree.parse(path)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [Kind.PAYOUT, Kind.REFUND])
def test_a_pain_001_is_valid_by_the_schema_of_iso_20022(tmp_path: Path, version: str, kind: Kind) -> None:
    profile = iso(version, purpose='Aid <shared> & "split"', payee_name="Nobody & Co")
    rows = payouts([0, 36**6 - 1], [1, AMOUNT_MOST], kind)
    (known,) = write(tmp_path, profile, NUMBERS, replace(BATCH, kind=kind), [rows])
    tree = parsed(tmp_path / known.file)
    etree.XMLSchema(etree.parse(Path(sepaxml.__file__).parent / "schemas" / f"{version}.xsd")).assertValid(tree)
    assert tree.findtext(".//{*}Ustrd") == 'Aid <shared> & "split"'
    assert tree.findtext(".//{*}Cdtr/{*}Nm") == "Nobody & Co"
    assert known.reference == str(Reference(Kind.BATCH, RUN, ATTEMPT, FIRST)) == tree.findtext(".//{*}MsgId")
    assert [each.text for each in tree.iterfind(".//{*}EndToEndId")] == rows.column("reference").to_pylist()


@pytest.mark.parametrize("version", VERSIONS)
def test_totals_days_and_accounts_are_those_of_another_writer(tmp_path: Path, version: str) -> None:
    amounts = [1, 99, 100, 123_456, 7]
    config = {"name": "ACME", "IBAN": NUMBERS.number, "BIC": "MOCKNL2A", "batch": True, "currency": "EUR"}
    other = sepaxml.SepaTransfer(config, schema=version, clean=True)
    for seat, amount in enumerate(amounts):
        other.add_payment(
            {
                "name": "NOTPROVIDED", "IBAN": f"NL41MOCK{seat:010}", "amount": amount,
                "execution_date": BATCH.debit_on, "description": "Mutual aid",
            }
        )  # fmt: skip
    (known,) = write(tmp_path, iso(version), NUMBERS, BATCH, [payouts(range(5), amounts)])
    ours, theirs = parsed(tmp_path / known.file), etree.fromstring(other.export(validate=False))
    for name in (
        "GrpHdr/{*}NbOfTxs", "GrpHdr/{*}CtrlSum", "PmtInf/{*}NbOfTxs", "PmtInf/{*}CtrlSum",
        "PmtMtd", "ReqdExctnDt", "ReqdExctnDt/{*}Dt", "DbtrAcct/{*}Id/{*}IBAN", "ChrgBr",
    ):  # fmt: skip
        assert ours.findtext(f".//{{*}}{name}") == theirs.findtext(f".//{{*}}{name}")
    for name in ("CdtrAcct/{*}Id/{*}IBAN", "InstdAmt"):
        assert [e.text for e in ours.iterfind(f".//{{*}}{name}")] == [
            e.text for e in theirs.iterfind(f".//{{*}}{name}")
        ]
    assert known.amount_minor == sum(amounts)


def test_the_bank_of_the_tests_finds_nothing_wrong(tmp_path: Path) -> None:
    rows = payouts([1, 2], [125_000, 1]).set_column(1, "account", pa.array(["NL41MOCK0000000001"] * 2))
    (known,) = write(tmp_path, iso(VERSIONS[0]), NUMBERS, BATCH, [rows])
    read, findings = validate.inspect((tmp_path / known.file).read_bytes(), today=dt.date(2026, 9, 30))
    assert [validate.render(finding) for finding in findings] == []
    assert read is not None


def test_a_file_is_booked_as_the_profile_says(tmp_path: Path) -> None:
    for booking, words in ((BookingMode.PER_DEBIT, "false"), (BookingMode.GROSS_PER_BATCH, "true")):
        folder = tmp_path / booking
        folder.mkdir()
        profile = iso(VERSIONS[0]).model_copy(update={"booking": booking})
        (known,) = write(folder, profile, NUMBERS, BATCH, [payouts([1], [1])])
        assert f"<BtchBookg>{words}</BtchBookg>" in (folder / known.file).read_text("utf-8")


def test_without_a_table_of_its_own_a_payout_is_a_line_like_a_debit(tmp_path: Path) -> None:
    (known,) = write(tmp_path, load("generic-csv"), NUMBERS, BATCH, [payouts([3], [300_000_00])])
    assert (tmp_path / known.file).read_text("utf-8") == (
        "reference,account,amount,currency,debit_on\n"
        f"{Reference(Kind.PAYOUT, RUN, ATTEMPT, 3)},NL41MOCK0000000003,300000.00,CNY,2026-10-01\n"
    )


@pytest.mark.parametrize(
    ("profile", "batch", "words"),
    [
        (load("mock-bank").model_copy(update={"payouts": None}), BATCH, "mock-bank does not say how it pays out"),
        (load("mock-bank"), replace(BATCH, kind=Kind.REFUND), "is none of a refund of run 14"),
        (load("mock-bank"), replace(BATCH, attempt=2), "is none of a payout of run 14, attempt 2"),
    ],
)
def test_what_is_never_written(tmp_path: Path, profile: Profile, batch: Batch, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        write(tmp_path, profile, NUMBERS, batch, [payouts([3], [1])])
    assert list(tmp_path.iterdir()) == []


def test_the_plans_account_is_an_iban(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"is no IBAN; pain\.001"):
        write(tmp_path, load("mock-bank"), AccountNumbers("123"), BATCH, [payouts([3], [1])])
