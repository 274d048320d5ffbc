"""Custodian profiles: every preset reads, every wrong key is named at once, and no number stands in a file."""

from __future__ import annotations

import re
from datetime import time
from pathlib import Path

import pytest

from engine.custodian.profile import (
    UNKNOWN_REASON,
    BookingMode,
    DelimitedDebits,
    Meaning,
    Retry,
    account_numbers,
    load,
    parse,
    presets,
)
from engine.errors import InvalidInput

PRESETS = ["alipay", "daikou-bank", "generic-csv", "mock-bank", "unionpay", "wechat"]
CSV = (Path(__file__).parents[3] / "config" / "custodians" / "generic-csv.toml").read_text("utf-8")
MOCK_BANK = (Path(__file__).parents[3] / "config" / "custodians" / "mock-bank.toml").read_text("utf-8")


def test_the_presets_are_these_and_each_reads() -> None:
    assert presets() == PRESETS
    assert [load(name).code for name in PRESETS] == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_one_kind_of_statement_books_and_the_others_inform(name: str) -> None:
    profile = load(name)
    assert profile.books_from in profile.statements
    assert {*profile.informs, profile.books_from} == set(profile.statements)
    assert profile.books_from not in profile.informs


@pytest.mark.parametrize("name", PRESETS)
def test_no_file_holds_the_number_of_an_account(name: str) -> None:
    profile = load(name)
    assert profile.account.number_from.startswith("CUSTODIAN_")
    text = (Path(__file__).parents[3] / "config" / "custodians" / f"{name}.toml").read_text("utf-8")
    values = re.findall(r'"([^"]*)"', text)
    assert not [value for value in values if re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}|\d{12,}", value)]


@pytest.mark.parametrize("name", PRESETS)
def test_every_custodian_says_who_may_be_retried(name: str) -> None:
    meant = {reason.means: reason.retry for reason in load(name).reasons.values()}
    assert meant[Meaning.INSUFFICIENT_FUNDS] is Retry.YES
    assert meant.get(Meaning.ACCOUNT_CLOSED, Retry.NO) is Retry.NO
    assert meant.get(Meaning.NO_MANDATE, Retry.NO) is Retry.NO
    assert meant[Meaning.UNSPECIFIED] is Retry.UNCLEAR


@pytest.mark.parametrize(
    ("code", "means", "retry"),
    [
        ("AM04", Meaning.INSUFFICIENT_FUNDS, Retry.YES),
        ("AC04", Meaning.ACCOUNT_CLOSED, Retry.NO),
        ("AG01", Meaning.DEBITS_FORBIDDEN, Retry.NO),
        ("MD07", Meaning.PAYER_DIED, Retry.NO),
        ("MS03", Meaning.UNSPECIFIED, Retry.UNCLEAR),
    ],
)
def test_reasons_of_iso_20022(code: str, means: Meaning, retry: Retry) -> None:
    reason = load("mock-bank").reason(code)
    assert (reason.means, reason.retry) == (means, retry)


@pytest.mark.parametrize("code", [None, "", "ZZ99"])
def test_a_code_nobody_listed_is_unclear(code: str | None) -> None:
    assert load("mock-bank").reason(code) == UNKNOWN_REASON


def test_what_a_profile_says_is_typed() -> None:
    bank = load("daikou-bank")
    assert isinstance(bank.debits, DelimitedDebits)
    assert bank.booking is BookingMode.NET_PER_FILE
    assert bank.limits.cut_off == time(16, 30)
    assert bank.layouts.daikou is not None
    assert bank.layouts.daikou.fields["reference"] == 1
    zm = load("unionpay").layouts.fixed_width
    assert zm is not None
    assert zm.fields["reference"] == (112, 32)


@pytest.mark.parametrize(
    ("was", "becomes", "line"),
    [
        ("booking =", "bokking =", "bokking: unknown key; known here: account, booking, books_from"),
        ("booking =", "bokking =", "booking: missing"),
        ('format = "csv"', 'format = "cvs"', "debits: Input tag 'cvs' found"),
        ('format = "csv"', "", "debits: format: missing"),
        ("cut_off = 18:00:00", 'cut_off = "six"', "limits.cut_off: write a time of day like 16:30:00"),
        ('holds = "amount"', 'holds = "amnt"', "debits.columns.2.holds: Input should be 'reference'"),
        ('amount = "amount", ', 'amunt = "amount", ', "layouts.csv.fields.amunt: Input should be 'reference'"),
        ('amount = "amount", ', "amount = 5, ", "layouts.csv.fields.amount: write text in quotes"),
        ('amount = "amount", ', "", "layouts.csv: fields: name amount, or credit and debit"),
        ('reference = "reference", batch', "batch", "layouts.csv: fields: no field holds the reference"),
        ("[layouts.csv]", '[layouts.csv]\nsettled = ["ok"]', "layouts.csv: fields: no field holds the status"),
        ("[layouts.csv]", "[layouts.csv]\nfoot = 1", "layouts.csv.foot: unknown key; known here: amounts, date_format"),
        ('retry = "yes"', "retry = true", "reasons.AM04.retry: Input should be 'yes', 'no' or 'unclear'"),
        ('"CUSTODIAN_GENERIC_ACCOUNT"', '"NL41MOCK0000000001"', "account.number_from: String should match pattern"),
        ("lead_days = 0", "lead_days = -1", "limits.lead_days: Input should be greater than or equal to 0"),
        ("max_bytes = 64_000_000", "max_bytes = 10_000_000_000", "limits.max_bytes: Input should be less than"),
        ('books_from = "csv"', 'books_from = "mt940"', "books_from: mt940 is none of statements"),
        ('["csv", "camt.053"]', '["camt.053", "pain.002"]', "layouts.csv: csv is none of statements"),
        ('["csv", "camt.053"]', '["csv", "daikou"]', "layouts.daikou: missing, for daikou is in statements"),
        ('"account", holds', '"=account", holds', "debits.columns.1.name: begin with another character"),
        ('"currency", holds = "currency"', '"a", text = "@b"', "debits.columns.3.text: begin with another character"),
        ('"currency", holds = "currency"', '"a", text = "b,c"', "has a quote or the separator in its name or text"),
        ('"currency", holds = "currency"', '"a", text = "b\\nc"', "without control characters"),
        ('"currency", holds = "currency"', '"a"', "debits.columns.3: state what the column holds, or its text"),
        ('"currency", holds = "currency"', '"account", holds = "amount"', "two columns are alike: amount, account"),
        ('"account", holds = "account"', '"account", text = "x"', "debits: no column holds account"),
        ('separator = ","', 'separator = ","\naccount_pattern = "(?=a)"', "debits.account_pattern: is no regular"),
        ("code =", "code", "not TOML: "),
    ],
)
def test_what_is_wrong_is_named_by_its_key(was: str, becomes: str, line: str) -> None:
    assert was in CSV
    with pytest.raises(InvalidInput) as refused:
        parse(CSV.replace(was, becomes, 1), "mine.toml")
    lines = str(refused.value).splitlines()
    assert all(each.startswith("mine.toml: ") for each in lines)
    assert any(line in each for each in lines), lines


def test_everything_wrong_is_said_at_once() -> None:
    text = CSV.replace("booking =", "bokking =").replace("lead_days = 0", "lead_days = -1")
    with pytest.raises(InvalidInput) as refused:
        parse(text, "mine.toml")
    assert len(str(refused.value).splitlines()) == 3


def test_a_text_that_the_encoding_lacks_is_refused() -> None:
    text = CSV.replace('encoding = "utf-8"', 'encoding = "gbk"').replace('holds = "currency"', 'text = "😀"')
    with pytest.raises(InvalidInput, match="gbk cannot write the column 'currency'"):
        parse(text, "mine.toml")


def test_iso_debits_need_a_creditor() -> None:
    text = MOCK_BANK.replace('bic = "MOCKNL2A"\n', "")
    with pytest.raises(InvalidInput, match=r"account: pain\.008\.001\.08 needs creditor_id_from and bic"):
        parse(text, "mine.toml")


def test_a_custodian_may_know_payers_by_their_reference() -> None:
    assert {load(name).payer_known_by for name in PRESETS} == {"account"}
    by_reference = 'payer_known_by = "member_ref"\nbooking ='
    assert parse(CSV.replace("booking =", by_reference), "mine.toml").payer_known_by == "member_ref"
    with pytest.raises(InvalidInput, match="payer_known_by: Input should be 'account' or 'member_ref'"):
        parse(CSV.replace("booking =", 'payer_known_by = "name"\nbooking ='), "mine.toml")


@pytest.mark.parametrize(
    "text", [MOCK_BANK, CSV.replace('holds = "debit_on"', 'holds = "mandate_id"')], ids=["pain.008", "csv"]
)
def test_where_mandates_are_asked_payers_are_known_by_accounts(text: str) -> None:
    assert parse(text, "mine.toml").payer_known_by == "account"
    with pytest.raises(InvalidInput, match="payer_known_by: a mandate is of an account"):
        parse(text.replace("booking =", 'payer_known_by = "member_ref"\nbooking ='), "mine.toml")


def test_a_status_report_books_nothing() -> None:
    with pytest.raises(InvalidInput, match=r"books_from: pain\.002 holds no bookings"):
        parse(MOCK_BANK.replace('books_from = "camt.053"', 'books_from = "pain.002"'), "mine.toml")


def test_who_is_no_preset_is_a_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(CSV.replace('code = "generic-csv"', 'code = "mine"'), "utf-8")
    assert load(str(mine)).code == "mine"
    with pytest.raises(InvalidInput, match="no custodian yours; known: alipay, "):
        load("yours")
    mine.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(str(mine))


def test_the_environment_holds_the_numbers_and_nobody_prints_them() -> None:
    account = load("mock-bank").account
    environment = {
        "CUSTODIAN_MOCK_BANK_IBAN": "NL41MOCK0000000001",
        "CUSTODIAN_MOCK_BANK_CREDITOR_ID": "NL41ZZZ000000000001",
    }
    numbers = account_numbers(account, environment)
    assert (numbers.number, numbers.creditor_id) == ("NL41MOCK0000000001", "NL41ZZZ000000000001")
    assert "NL41" not in repr(numbers)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "set CUSTODIAN_MOCK_BANK_IBAN and CUSTODIAN_MOCK_BANK_CREDITOR_ID in the environment"),
        ({"CUSTODIAN_MOCK_BANK_IBAN": "NL41"}, "set CUSTODIAN_MOCK_BANK_CREDITOR_ID in"),
        (
            {"CUSTODIAN_MOCK_BANK_IBAN": "NL41 MOCK", "CUSTODIAN_MOCK_BANK_CREDITOR_ID": "NL<1"},
            "CUSTODIAN_MOCK_BANK_IBAN and CUSTODIAN_MOCK_BANK_CREDITOR_ID: write letters and digits",
        ),
    ],
)
def test_a_number_missing_or_wrong_is_named_not_shown(environment: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        account_numbers(load("mock-bank").account, environment)
    assert "NL" not in str(refused.value).replace("CUSTODIAN", "")
