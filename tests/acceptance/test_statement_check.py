"""`fentan statement check` on the published samples in ../shared, each as SOURCES.md there states it.

The samples are not part of the repository: where they are absent these tests are skipped, unless
SAMPLES_REQUIRED=1 says that they must be there. What SOURCES.md does not state was worked out with mt-940, a
reader that nobody here wrote, which is asked again here; where the file itself is wrong, by hand.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import mt940
import pytest
import typer
from typer.testing import CliRunner

from engine.cli import statements

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT.parent / "shared" / "samples" / "bank"
KEYS = ["account", "currency", "entries", "credits", "debits", "opening", "closing", "ties", "problems"]

pytestmark = [pytest.mark.acceptance]
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir() and os.environ.get("SAMPLES_REQUIRED") != "1",
    reason="the published samples of ../shared are not here",
)


class Told(NamedTuple):
    account: str | None
    entries: int
    ties: bool | None
    codes: tuple[str, ...] = ()


NL, CH, MOCK = "NL26VAYB8060476890", "CH2801234000123456789", "NL41MOCK0000000001"
OFF = ("BALANCE_BREAK",)

XML = {
    "genkgo-camt/camt053.v2.minimal.xml": [Told(NL, 1, False, ("CURRENCY_MISMATCH", "BALANCE_BREAK"))],
    "genkgo-camt/camt053.v2.multi.statement.xml": [Told(NL, 1, True), Told(NL, 1, True)],
    "genkgo-camt/camt053.v2.five.decimals.xml": [Told(NL, 1, False, OFF)],
    "genkgo-camt/camt052.v8.xml": [Told(CH, 1, None)],
    "genkgo-camt/camt054.v4.xml": [Told(CH, 1, None)],
    "genkgo-camt/camt53.only-Dt-with-DtTm.xml": [Told("GB33BUKB20201555555555", 0, None)],
    "iso20022.js/abn_amro/example_camt.xml": [Told("NL77ABNA0574908765", 13, True)],
    "iso20022.js/ing/example_camt.xml": [Told("NL08INGB0000001234", 9, True)],
    "iso20022.js/nordea/example_camt.xml": [Told("FI8529501800030574", 6, True)],
    "iso20022.js/nordea/pain_002_v3_group_reject.xml": [Told(None, 0, None)],
    "iso20022.js/nordea/pain_002_v3_payment_reject.xml": [Told(None, 0, None)],
    "iso20022.js/nordea/pain_002_v3_txn_reject.xml": [Told(None, 2, None)],
    "iso20022.js/cross_river/pain_002_batch_rejected.xml": [Told(None, 0, None)],
    "iso20022.js/cross_river/pain_002_transaction_rejected.xml": [Told(None, 3, None)],
    "iso20022.js/cross_river/pain_002_debit_accepted.xml": [Told(None, 3, None)],
    "mock-bank-external/camt.053.001.08-sepa-statement.xml": [Told("NL91ABNA0417164300", 2, False, OFF)],
    "mock-bank-external/camt.054.001.08-notification.xml": [
        Told("DE89370400440532013000", 2, None, ("CURRENCY_MISMATCH",))
    ],
    "mock-bank-external/pain.002.001.10-cbpr-originator.xml": [Told(None, 1, None)],
    "mock-bank-external/pain.002.001.10-every-element.xml": [Told(None, 1, None)],
    "mock-bank-external/pain.002.001.10-sepa-status.xml": [Told(None, 2, None)],
    "mock-bank-generated/01-pain.002.001.10.xml": [Told(None, 4, None)],
    "mock-bank-generated/02-camt.054.001.08.xml": [Told(MOCK, 2, None)],
    "mock-bank-generated/03-camt.053.001.08.xml": [Told(MOCK, 0, True)],
    "mock-bank-generated/06-camt.053.001.08.xml": [Told(MOCK, 2, True)],
    "mock-bank-generated/09-pacs.004.001.09.xml": [Told(MOCK, 1, None)],
    "mock-bank-generated/10-camt.054.001.08.xml": [Told(MOCK, 1, None)],
    "mock-bank-generated/11-camt.053.001.08.xml": [Told(MOCK, 0, True)],
    "mock-bank-generated/14-camt.053.001.08.xml": [Told(MOCK, 1, True)],
    "mock-bank-generated/17-camt.053.001.08.xml": [Told(MOCK, 0, True)],
}
"""What SOURCES.md states. `pain.002` has no account and no balances; its entries are its transactions."""

ASNB = [1, 0, 0, 0, 2, *[0] * 19, 1, 0, 0, 0, 2, 0, 2]

MT940 = {
    "wolph-mt940/ASNB/mt940.txt": [Told("NL81ASNB9999999999", entries, True) for entries in ASNB],
    "wolph-mt940/betterplace/sepa_mt9401.sta": [
        *[Told("50880050/0194774600888", 7, True), Told("50880050/0194777100888", 2, True)],
        *[Told("50880050/0194778300888", 5, True), Told("50880050/0194779500888", 3, True)],
        *[Told("50880050/0194780100888", 5, True), Told("50880050/0194780101888", 1, True)],
        *[Told("50880050/0194781300888", 8, True), Told("50880050/0194782500888", 11, True)],
        *[Told("50880050/0194783700888", 12, True), Told("50880050/0194784900888", 9, True)],
        *[Told("50880050/0194784901888", 1, True), Told("50880050/0194785000888", 12, True)],
        *[Told("50880050/0194785001888", 1, True), Told("50880050/0194786200888", 3, True)],
        *[Told("50880050/0194787400888", 4, True), Told("50880050/0194791600888", 7, True)],
        *[Told("50880050/0194791601888", 3, True), Told("50880050/0194798900888", 1, True)],
        *[Told("50880050/0194799000888", 1, True), Told("50880050/0194804000888", 1, True)],
    ],
    "wolph-mt940/betterplace/with_binary_character.sta": [
        Told("51230800/0000007055", 3, True),
        Told("51230800/0000007304", 1, True),
    ],
    "wolph-mt940/cmxl/mt940.sta": [
        Told("45050050/76198810", 11, True),
        Told("10020030/1234567", 2, True),
        Told("BPHKPLPK/320000546101", 3, True),
    ],
    "wolph-mt940/jejik/abnamro.sta": [
        Told("517852257", 8, False, OFF),
        Told("517852257", 2, False, ("BALANCE_BREAK", "STATEMENT_GAP")),
    ],
    "wolph-mt940/jejik/ing.sta": [Told("0001234567", 7, False, OFF)],
    "wolph-mt940/jejik/rabobank-iban.sta": [Told("NL71RABO0123456789", 2, True), Told("NL71RABO0123456789", 2, True)],
    "wolph-mt940/jejik/sns.sta": [Told("0123456789", 2, True), Told("0123456789", 0, True)],
    "wolph-mt940/self-provided/february_30.sta": [Told("12345678/1020304050", 1, True)],
}
"""A statement of several pages is one. What is marked OFF does not add up as published."""

# Edited by hand before they were published: none of these bills has the totals that it states.
CSV = {
    "double-entry-generator/example-alipay-records.csv": [Told("xx@gmail.com", 10, None, ("TOTALS_BREAK",) * 3)],
    "double-entry-generator/example-wechat-records.csv": [Told(None, 27, None, ("TOTALS_BREAK",) * 3)],
    "double-entry-generator/example-icbc-debit-v2-records.csv": [Told("1234****9876", 11, None, ("TOTALS_BREAK",) * 2)],
}

REFUSED = {
    "genkgo-camt/camt053.v2.wrong.xml": "line 3: camt.053.001.02 holds no statement",
    "wolph-mt940/betterplace/sepa_snippet_broken.sta": "line 6: :25: stands in a statement that has not closed",
    "wolph-mt940/self-provided/mt942.sta": "line 4: this is an MT942",
    "wolph-mt940/self-provided/invalid_statement.sta": "line 1: is neither XML nor MT940",
    "dutch-sepa-iso20022/abn/pain.008.001.02 voorbeeldbestand.xml": "is a pain.008: orders that go out",
    "dutch-sepa-iso20022/ing/pain.008.001.02 voorbeeldbestand.xml": "is a pain.008: orders that go out",
    "mock-bank-external/pain.008.001.08-be-sdd-core.xml": "is a pain.008: orders that go out",
    "mock-bank-external/pain.008.001.08-direct-debit.xml": "is a pain.008: orders that go out",
    "mock-bank-generated/00-in-pain.008.001.08.xml": "is a pain.008: orders that go out",
}

EXPECTED = XML | MT940 | CSV


def fentan(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def check(path: Path, *options: str) -> list[dict[str, Any]]:
    """In this process: each would wait for its imports otherwise. A file with any problem is told, with exit code 1."""
    commands = typer.Typer()
    commands.add_typer(statements.app, name="statement")
    done = CliRunner().invoke(commands, ["statement", "check", str(path), "--json", *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.exit_code == any(each["problems"] for each in found)
    for each in found:
        assert list(each) == KEYS
        assert all(list(problem) == ["code", "place", "message"] for problem in each["problems"])
        assert all(all(problem.values()) for problem in each["problems"])
    return found


@needs_samples
def test_every_sample_is_in_a_table() -> None:
    held = {str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*") if path.is_file()}
    statements = {name for name in held if not re.search(r"LICENSE|SOURCES\.md", name)}
    assert statements == {*EXPECTED, *REFUSED}


@needs_samples
@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_is_what_its_source_states(name: str) -> None:
    found = check(SAMPLES / name)
    told = [
        Told(each["account"], each["entries"], each["ties"], tuple(problem["code"] for problem in each["problems"]))
        for each in found
    ]
    assert told == EXPECTED[name]


@needs_samples
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_broken_is_refused_with_the_place(name: str) -> None:
    done = fentan("statement", "check", SAMPLES / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert REFUSED[name] in done.stderr
    assert "Traceback" not in done.stderr


@needs_samples
@pytest.mark.parametrize("name", MT940)
def test_a_second_reader_counts_and_adds_the_same(name: str) -> None:
    # It joins all statements of a file into one, so the file is cut before it.
    pages = re.split(r"(?m)^(?=:20:)", (SAMPLES / name).read_text("utf-8"))[1:]
    tags: dict[int | str, mt940.tags.Tag] = {61: mt940.tags.StatementASNB()} if "ASNB" in name else {}
    theirs: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
    for page in pages:
        account = re.search(r"(?m)^:25:(.*)$", page)
        assert account
        for entry in mt940.models.Transactions(tags=tags).parse(page):
            # It gives the reversal of a credit (RC) the sign of a credit; the banks' own balances say otherwise.
            sign = -1 if entry.data["status"].startswith("R") else 1
            entries, before = theirs[account[1].strip()]
            theirs[account[1].strip()] = [entries + 1, before + sign * entry.data["amount"].amount]
    ours: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
    for each in check(SAMPLES / name):
        net = Decimal(each["credits"]) - Decimal(each["debits"])
        entries, before = ours[each["account"]]
        ours[each["account"]] = [entries + each["entries"], before + net]
    assert {account: sums for account, sums in ours.items() if sums[0]} == theirs


BILL = (
    "#opening,10.00\nbooked_on,value_on,amount,reference,batch_reference,bank_reference,kind,reason,original,charges,count\n"
    "2026-03-02,2026-03-02,1.50,D0000110000010AA,,B1,debit,,,,1\n"
    "#entries,1\n#credits,1.50\n#debits,0.00\n#closing,{closing}\n"
)


def test_a_bill_without_a_sample(tmp_path: Path) -> None:
    file = tmp_path / "bill.csv"
    file.write_text(BILL.format(closing="11.50"))
    for options in ((), ("--profile", "generic-csv")):
        (found,) = check(file, *options)
        assert [found[key] for key in KEYS[2:]] == [1, "1.50", "0.00", "10.00", "11.50", True, []]
    done = fentan("statement", "check", file)
    assert done.returncode == 0
    assert "1 entries · credits 1.50 · debits 0.00" in done.stdout
    assert "opening 10.00 · closing 11.50 · ties out" in done.stdout
    file.write_text(BILL.format(closing="12.00"))
    done = fentan("statement", "check", file)
    assert done.returncode == 1
    assert "does NOT tie out" in done.stdout
    assert "BALANCE_BREAK at closing balance" in done.stdout


SWIFT = """:20:A\n:25:NL00BANK{number}\n:28C:{number}/1\n:60F:C260301EUR100,00
:61:2603020302C10,NDDTD0000110000010AA//B1\n:62F:C260302EUR{closing}\n"""
PAGES = (
    "<Document><BkToCstmrStmt>"
    + "".join(f"<Stmt><Id>{n}</Id><Acct><Id><IBAN>NL0{n}</IBAN></Id><Ccy>EUR</Ccy></Acct></Stmt>" for n in (1, 2))
    + "</BkToCstmrStmt></Document>"
)
DAIKOU = "2|3.00\nD1|622|1.00|CNY|x|0000\nD2|623|2.00|CNY|x|0051\n"


def test_several_statements_in_a_file_are_told_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "two.sta"
    file.write_text(SWIFT.format(number=1, closing="110,00") + SWIFT.format(number=2, closing="111,00"))
    sound, broken = check(file)
    assert [sound[key] for key in KEYS[:-1]] == ["NL00BANK1", "EUR", 1, "10.00", "0.00", "100.00", "110.00", True]
    assert sound["problems"] == []
    assert (broken["account"], broken["ties"]) == ("NL00BANK2", False)
    ((code, place, message),) = [problem.values() for problem in broken["problems"]]
    assert (code, place) == ("BALANCE_BREAK", "closing balance")
    assert "off by 1.00" in message
    file.write_text(PAGES)
    assert [(each["account"], each["entries"], each["ties"]) for each in check(file)] == [
        ("NL01", 0, None),
        ("NL02", 0, None),
    ]


def test_the_profile_says_how_a_text_is_laid_out(tmp_path: Path) -> None:
    file = tmp_path / "back.txt"
    file.write_text(DAIKOU)
    for options in ((), ("--profile", "daikou-bank"), ("--profile", "config/custodians/daikou-bank.toml")):
        (found,) = check(file, *options)
        assert [found[key] for key in KEYS] == [None, "CNY", 2, "1.00", "0.00", None, None, None, []]
    done = fentan("statement", "check", file, "--profile", "alipay")
    assert done.returncode == 1
    assert "no known layout describes it" in done.stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1: is empty"),
        (b" \n\n", "line 1: is empty"),
        (bytes(range(256)) * 40, "line 1: is "),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "line 1: is neither XML nor MT940"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "line 1: is neither XML nor MT940"),
        (b"PK\x03\x04 not really", "is packed, and damaged"),
        (b"<html><body>Session expired</body></html>", "line 1: is XML, but no message of camt.052"),
        (b"<Document><CstmrDrctDbtInitn/></Document>", "is a pain.008: orders that go out to a custodian"),
        (None, "is a folder; give one file"),
    ],
    ids=["empty", "blank", "bytes", "picture", "pdf", "package", "page", "pain.008", "folder"],
)
def test_what_is_no_statement_is_said_to_be_none(tmp_path: Path, data: bytes | None, words: str) -> None:
    file = tmp_path / "file"
    file.mkdir() if data is None else file.write_bytes(data)
    done = fentan("statement", "check", file, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.xml"], "nowhere.xml: there is no such file"),
        (["pyproject.toml", "--profile", "nobody"], "--profile nobody: there is none; known: alipay, "),
        (["pyproject.toml", "--profile", "nobody.toml"], "--profile nobody.toml: there is no such file"),
    ],
)
def test_what_is_not_there_is_said(arguments: list[str], words: str) -> None:
    done = fentan("statement", "check", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
