from __future__ import annotations

import gc
import gzip
import json
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.custodian import gates, profile
from engine.custodian.layouts import CsvLayout, DaikouLayout, FixedWidthLayout, Layouts
from engine.custodian.readers import csv_bills, daikou, fixed_width, mt940, read, recognised_in
from engine.custodian.readers.delimited import ByteStream, Torn, row_batches
from engine.custodian.statement import Fault, Kind, Part, place_in_file
from engine.errors import InvalidInput
from engine.money.sums import exact_sum
from tests.unit.custodian.gathered import Gathered, faults, gathered

NAME = "statement.txt"


def rows(found: Gathered, *names: str) -> list[tuple[object, ...]]:
    def value(line: dict[str, Any], name: str) -> object:
        return place_in_file(line) if name == "place" else line[name]

    return [tuple(value(line, name) for name in names) for _, lines in found for line in lines.to_pylist()]


SWIFT = """{1:F01BANKNL2A}{2:O940BANK}{4:
:20:RUN1
:25:NL00BANK0000000001
:28C:7/1
:60F:C260301EUR100,00
:61:2603020302C10,NDDTD0000110000010AA//B1
:86:171?00LASTSCHRIFT?20EREF+D0000110000010AA?21SVWZ+Umlage
:61:2603010302D15,50NRTID0000110000020BB//B2
/OCMT/EUR10,00//CHGS/EUR5,50/
:86:109?00RETOURE?20EREF+D0000110000020BB?34914
:62M:C260302EUR94,50
-}
{1:F01BANKNL2A}{2:O940BANK}{4:
:20:RUN1
:25:NL00BANK0000000001
:28C:7/2
:60M:C260302EUR94,50
:61:2603020302RC4,50NMSCNONREF
:62F:C260302EUR90,00
-}
"""


def swift(text: str) -> Gathered:
    return gathered(mt940.read([text.encode()], NAME))


def test_swift_pages_are_one_statement() -> None:
    ((footing, _),) = found = swift(SWIFT)
    assert (footing.entries, footing.statement.opening_minor, footing.statement.closing_minor) == (3, 10000, 9000)
    assert (footing.declared.sequence, footing.declared.last_page) == (7, True)
    assert faults(found) == []
    names = ("place", "booked_on", "value_on", "amount_minor", "reference", "bank_reference", "kind")
    assert rows(found, *names, "reason", "original_minor", "charges_minor") == [
        *[("line 6", date(2026, 3, 2), date(2026, 3, 2), 1000, "D0000110000010AA", "B1", "debit", None, None, 0)],
        *[("line 8", date(2026, 3, 2), date(2026, 3, 1), -1550, "D0000110000020BB", "B2", "return", "914", 1000, 550)],
        *[("line 18", date(2026, 3, 2), date(2026, 3, 2), -450, None, None, "reversal", None, None, 0)],
    ]


def test_swift_is_the_same_however_it_is_split() -> None:
    data = SWIFT.encode()
    whole = swift(SWIFT)
    for at in range(len(data) + 1):
        assert gathered(mt940.read([data[:at], data[at:]], NAME)) == whole, at
    assert gathered(mt940.read([data[at : at + 1] for at in range(len(data))], NAME)) == whole


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("D15,50", "D15,60", [(Fault.BALANCE_BREAK, "closing balance")]),
        (":60M:C260302EUR94,50", ":60M:C260302EUR94,40", [(Fault.BALANCE_BREAK, "line 17")]),
        (":62F:C260302EUR90,00", ":62M:C260302EUR90,00", [(Fault.STATEMENT_GAP, "page 1")]),
        ("EUR94,50\n-", "USD94,50\n-", [(Fault.CURRENCY_MISMATCH, "line 11")]),
        ("RC4,50", "RC4,501", [(Fault.INEXACT_AMOUNT, "line 18"), (Fault.BALANCE_BREAK, "closing balance")]),
        (":25:NL00BANK0000000001\n", "", [(Fault.ACCOUNT_MISMATCH, "statement")]),
    ],
)
def test_what_is_wrong_in_swift_is_named(before: str, after: str, expected: list[tuple[Fault, str]]) -> None:
    assert faults(swift(SWIFT.replace(before, after))) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: no opening balance"),
        ("hello\n", "line 1: no opening balance"),
        (":25:X\n", "line 1: :25: stands before :20:"),
        (SWIFT[:300], "breaks off"),
        (SWIFT + ":20:RUN2\n:25:NL00BANK0000000001\n", "line 22: breaks off"),
        (SWIFT.replace("2:O940", "2:O942", 1), "line 1: this is an MT942"),
        (SWIFT.replace(":28C:7/1", ":34F:EURD0,"), "line 4: this is an MT942"),
        (SWIFT.replace(":61:2603020302C", ":61:26030203C"), "line 6: the entry"),
        (SWIFT.replace("C260301EUR", "C261301EUR"), "line 5: the opening balance"),
        (":20:A\n:25:B\n:61:2603020302C10,NDDTX\n", "line 3: :61: stands before an opening balance"),
        (":20:A\n" + "x" * 70_000, "line 2: is longer"),
        (":20:A\n" + "x\n" * 40_000, "line 1: :20: is longer"),
    ],
)
def test_what_is_no_swift_is_refused_with_the_line(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        swift(text)


@pytest.mark.parametrize(("value", "booked"), [("251231", "0101"), ("260101", "1231"), ("240229", "0301")])
def test_the_day_of_booking_is_in_the_nearest_year(value: str, booked: str) -> None:
    ((_, lines),) = swift(SWIFT.replace("2603020302C10", f"{value}{booked}C10"))
    (line, *_) = lines.to_pylist()
    assert abs(line["booked_on"] - line["value_on"]).days == 1


def test_the_thirtieth_of_february_is_its_last_day() -> None:
    ((_, lines),) = swift(SWIFT.replace("2603020302C10", "2402300301C10"))
    assert lines["value_on"][0].as_py() == date(2024, 2, 29)


ALIPAY = CsvLayout.model_validate_json(
    json.dumps(
        {
            "encoding": "gbk",
            "skip": ["#"],
            "date_format": "%Y-%m-%d %H:%M:%S",
            "fields": {
                "bank_reference": "账务流水号",
                "reference": "商户订单号",
                "booked_on": "发生时间",
                "credit": "收入金额（+元）",
                "debit": "支出金额（-元）",
                "balance": "账户余额（元）",
                "kind": "业务类型",
            },
            "kinds": {"在线支付": "debit", "交易退款": "return", "收费": "charge"},
            "totals": {"credits": "收入合计", "debits": "支出合计"},
        }
    )
)
ALIPAY_BILL = """#支付宝账务明细查询
#账号：[20881234567890120156]
#起始日期：[2026年03月01日 00:00:00]   终止日期：[2026年04月01日 00:00:00]
#---------------------------------账务明细列表----------------------------------
账务流水号,商户订单号,商品名称,发生时间,收入金额（+元）,支出金额（-元）,账户余额（元）,业务类型
201\t,D1\t,互助,2026-03-02 12:00:00,10.00,0.00,"1,010.00",在线支付
202\t,D2\t,"互助,二",2026-03-02 12:00:01,10.00,0.00,"1,020.00",在线支付
203\t,D1\t,互助,2026-03-03 12:00:02,0.00,-10.00,"1,010.00",交易退款
#---------------------------------账务明细列表结束------------------------------
#支出合计：1笔，共-10.00元
#收入合计：2笔，共20.00元
#导出时间：[2026年04月01日 17:01:43]
"""

WECHAT = CsvLayout.model_validate_json(
    json.dumps(
        {
            "encoding": "utf-8-sig",
            "strip": "` \t",
            "date_format": "%Y-%m-%d %H:%M:%S",
            "fields": {
                "booked_on": "记账时间",
                "bank_reference": "资金流水单号",
                "kind": "业务类型",
                "direction": "收支类型",
                "amount": "收支金额（元）",
                "balance": "账户结余（元）",
                "reference": "业务凭证号",
            },
            "directions": {"收入": "credit", "支出": "debit"},
            "kinds": {"交易": "debit", "退款": "return"},
            "totals": {
                "count": "资金流水总笔数",
                "credit_count": "收入笔数",
                "credits": "收入金额",
                "debit_count": "支出笔数",
                "debits": "支出金额",
            },
        }
    )
)
WECHAT_BILL = """\ufeff记账时间,资金流水单号,业务类型,收支类型,收支金额(元),账户结余(元),业务凭证号
`2026-03-03 12:00:02,`203,`退款,`支出,`0.02,`0.33,`D1
`2026-03-02 12:00:01,`202,`交易,`收入,`0.25,`0.35,`D2
`2026-03-02 12:00:00,`201,`交易,`收入,`0.10,`0.10,`D1
资金流水总笔数,收入笔数,收入金额,支出笔数,支出金额
`3.0,`2.0,`0.35,`1.0,`0.02
"""


def bill(text: str, layout: CsvLayout) -> Gathered:
    data = text.encode(layout.encoding.removesuffix("-sig"))
    return gathered(csv_bills.read([data], NAME, [(layout, "CNY")]))


BILLS = [(ALIPAY_BILL, ALIPAY), (WECHAT_BILL, WECHAT)]


def test_an_alipay_bill_with_its_totals_and_balances() -> None:
    ((footing, _),) = found = bill(ALIPAY_BILL, ALIPAY)
    statement = footing.statement
    assert (statement.account, statement.currency) == ("20881234567890120156", "CNY")
    assert (statement.from_on, statement.to_on) == (date(2026, 3, 1), date(2026, 4, 1))
    assert (statement.opening_minor, statement.closing_minor) == (100_000, 101_000)
    assert faults(found) == []
    assert rows(found, "place", "amount_minor", "reference", "bank_reference", "kind", "original_minor") == [
        ("line 6", 1000, "D1", "201", "debit", None),
        ("line 7", 1000, "D2", "202", "debit", None),
        ("line 8", -1000, "D1", "203", "return", 1000),
    ]


def test_a_wechat_bill_newest_first() -> None:
    ((footing, _),) = found = bill(WECHAT_BILL, WECHAT)
    assert (footing.statement.opening_minor, footing.statement.closing_minor) == (0, 33)
    assert faults(found) == []
    assert rows(found, "amount_minor", "booked_on", "reference") == [
        (-2, date(2026, 3, 3), "D1"),
        (25, date(2026, 3, 2), "D2"),
        (10, date(2026, 3, 2), "D1"),
    ]


@pytest.mark.parametrize(("text", "layout"), BILLS)
def test_a_bill_is_the_same_however_it_is_split(text: str, layout: CsvLayout) -> None:
    data = text.encode(layout.encoding.removesuffix("-sig"))
    whole = bill(text, layout)
    for at in range(len(data) + 1):
        assert gathered(csv_bills.read([data[:at], data[at:]], NAME, [(layout, "CNY")])) == whole, at


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("共20.00元", "共20.01元", [(Fault.TOTALS_BREAK, "line 11")]),
        ("收入合计：2笔", "收入合计：3笔", [(Fault.TOTALS_BREAK, "line 11")]),
        (
            '202\t,D2\t,"互助,二",2026-03-02 12:00:01,10.00,0.00,"1,020.00",在线支付\n',
            "",
            [
                (Fault.BALANCE_BREAK, "line 7"),
                (Fault.BALANCE_BREAK, "closing balance"),
                (Fault.TOTALS_BREAK, "line 10"),
            ],
        ),
        ("D2\t,", "D2\t,,,", [(Fault.UNREADABLE, "line 7")]),
        ("12:00:01,10.00", "12:00:01,10.001", [(Fault.INEXACT_AMOUNT, "line 7")]),
        ("2026-03-02 12:00:01", "2026-02-30 12:00:01", [(Fault.UNREADABLE, "line 7")]),
        ("12:00:01,10.00,0.00", "12:00:01,,", [(Fault.UNREADABLE, "line 7")]),
    ],
)
def test_what_is_wrong_in_a_bill_is_named(before: str, after: str, expected: list[tuple[Fault, str]]) -> None:
    assert before in ALIPAY_BILL
    found = faults(bill(ALIPAY_BILL.replace(before, after), ALIPAY))
    assert found[: len(expected)] == expected


def test_a_direction_nobody_knows_is_a_problem_and_books_nothing() -> None:
    found = bill(WECHAT_BILL.replace("`支出,", "`外出,"), WECHAT)
    assert faults(found)[0] == (Fault.UNREADABLE, "line 2")
    assert rows(found, "amount_minor")[0] == (0,)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b\n1,2\n", "line 1: no line of it names the columns"),
        (ALIPAY_BILL.encode("gbk").replace(b"201\t", b"\xff\xff\t"), "is not CSV in gbk"),
    ],
)
def test_what_is_no_bill_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        gathered(csv_bills.read([data], NAME, [(ALIPAY, "CNY")]))


DAIKOU = DaikouLayout.model_validate_json(
    json.dumps(
        {
            "encoding": "gbk",
            "fields": {"reference": 1, "account": 2, "amount": 3, "status": 4, "reason": 4},
            "totals": {"count": 1, "amount": 2},
            "settled": ["0000"],
        }
    )
)
DAIKOU_FILE = "3|6.00\nD1|622\t|1.00|0000|成功\nD2|623|2.00|0051|余额不足\nD3|624|3.00|0000|成功\n"


def test_what_became_of_a_file_of_debits() -> None:
    ((footing, _),) = found = gathered(daikou.read([DAIKOU_FILE.encode("gbk")], NAME, DAIKOU, "CNY"))
    assert (footing.entries, footing.credit_entries) == (3, 2)
    assert faults(found) == []
    assert rows(found, "place", "reference", "amount_minor", "kind", "reason", "original_minor") == [
        ("line 2", "D1", 100, "debit", None, None),
        ("line 3", "D2", 0, "return", "0051", 200),
        ("line 4", "D3", 300, "debit", None, None),
    ]


@pytest.mark.parametrize(
    ("head", "problems"), [("3|6.00", 0), ("2|4.00", 0), ("4|6.00", 1), ("3|5.00", 1), ("9|9.00", 2)]
)
def test_daikou_totals_are_of_all_debits_or_of_those_paid(head: str, problems: int) -> None:
    data = DAIKOU_FILE.replace("3|6.00", head, 1).encode("gbk")
    found = faults(gathered(daikou.read([data], NAME, DAIKOU)))
    assert found == [(Fault.TOTALS_BREAK, "line 1")] * problems


def test_daikou_is_the_same_however_it_is_split() -> None:
    data = DAIKOU_FILE.encode("gbk")
    whole = gathered(daikou.read([data], NAME, DAIKOU))
    for at in range(len(data) + 1):
        assert gathered(daikou.read([data[:at], data[at:]], NAME, DAIKOU)) == whole, at


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "line 1"), (b"x|1.00\n", "line 1"), (b"1|1.00\nD1|2\n", "line 2: has 2 fields; the layout needs 4")],
)
def test_what_is_no_daikou_file_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        gathered(daikou.read([data], NAME, DAIKOU))


FIXED = FixedWidthLayout.model_validate_json(
    json.dumps(
        {
            "encoding": "gbk",
            "date_format": "%Y%m%d",
            "amounts": "minor",
            "fields": {
                "kind": [0, 3],
                "booked_on": [3, 8],
                "reference": [19, 4],
                "charges": [23, 4],
                "amount": [27, 8],
            },
            "kinds": {"S22": "debit", "S30": "return"},
        }
    )
)
FIXED_FILE = b"".join(
    # A name of three characters or one fills eight bytes, and bytes are what counts.
    b"".join((kind, day, name.encode("gbk").ljust(8), reference.ljust(4), charges, amount, b"\r\n"))
    for kind, day, name, reference, charges, amount in (
        (b"S22", b"20260302", "张三丰", b"D1", b"D003", b"C0001000"),
        (b"S30", b"20260303", "丁", b"D2", b"D550", b"D0001550"),
    )
)


def test_fixed_width_is_cut_by_bytes() -> None:
    data = FIXED_FILE
    found = gathered(fixed_width.read([data], NAME, FIXED))
    assert rows(
        found, "place", "booked_on", "reference", "amount_minor", "kind", "original_minor", "charges_minor"
    ) == [
        ("line 1", date(2026, 3, 2), "D1", 1000, "debit", None, 3),
        ("line 2", date(2026, 3, 3), "D2", -1550, "return", 1000, 550),
    ]
    for at in range(len(data) + 1):
        assert gathered(fixed_width.read([data[:at], data[at:]], NAME, FIXED)) == found
    short = faults(gathered(fixed_width.read([data + b"S22\n"], NAME, FIXED)))
    assert short == [(Fault.UNREADABLE, "line 3")]
    with pytest.raises(InvalidInput, match="line 1: has 3 bytes; the layout's fields reach to byte 35"):
        gathered(fixed_width.read([b"S22\n"], NAME, FIXED))


Reader = Callable[[list[bytes]], Iterator[Part]]
READERS: list[Reader] = [
    lambda blocks: mt940.read(blocks, NAME),
    lambda blocks: csv_bills.read(blocks, NAME, [(ALIPAY, "CNY"), (WECHAT, "CNY")]),
    lambda blocks: daikou.read(blocks, NAME, DAIKOU),
    lambda blocks: fixed_width.read(blocks, NAME, FIXED),
]
SOUND = [SWIFT.encode(), ALIPAY_BILL.encode("gbk"), DAIKOU_FILE.encode("gbk"), FIXED_FILE]


@settings(deadline=timedelta(seconds=20))
@given(st.binary(max_size=200), st.data())
def test_random_bytes_are_read_or_refused(noise: bytes, data: st.DataObject) -> None:
    for reader, sound in zip(READERS, SOUND, strict=True):
        at = data.draw(st.integers(0, len(sound)))
        for damaged in (noise, sound[:at] + noise + sound[at + 3 :]):
            try:
                found = gathered(reader([damaged]))
            except InvalidInput as error:
                assert "line " in str(error)  # noqa: PT017
            else:
                assert all(kind in set(Kind) for (kind,) in rows(found, "kind"))


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_a_file_tells_what_it_is(tmp_path: Path) -> None:
    described = [(Layouts(csv=ALIPAY, daikou=DAIKOU, fixed_width=FIXED), "CNY")]
    expected = ["MT940", "csv", "daikou", "fixed_width"]
    for message, data in zip(expected, SOUND, strict=True):
        for name, packed in (("plain", data), ("packed.gz", gzip.compress(data))):
            found = gathered(read(written(tmp_path, name, packed), described))
            assert {footing.message for footing, _ in found} == {message}
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        archive.writestr("a.sta", SOUND[0])
    assert gathered(read(tmp_path / "one.zip")) == swift(SWIFT)


def test_packages_that_hide_something_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a", SOUND[0])
        archive.writestr("b", SOUND[0])
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b":20:A\n" * 400_000)
    written(tmp_path, "torn.gz", gzip.compress(SOUND[0])[:-20])
    written(tmp_path, "empty.csv", b"")
    written(tmp_path, "strange.txt", b"hello\n")
    words = {
        "two.zip": "holds 2 files",
        "bomb.zip": "unpacks to more than",
        "torn.gz": "is packed, and damaged",
        "empty.csv": "line 1: is empty",
        "strange.txt": "say with --profile",
    }
    for name, word in words.items():
        with pytest.raises(InvalidInput, match=word):
            gathered(read(tmp_path / name))


def test_the_next_statement_follows_the_last() -> None:
    ((first, _),) = swift(SWIFT)
    ((second, _),) = swift(SWIFT.replace(":28C:7/", ":28C:8/").replace("C260301EUR100,00", "C260303EUR90,00"))
    ((later, _),) = swift(SWIFT.replace(":28C:7/", ":28C:9/"))
    ((other, _),) = swift(SWIFT.replace("NL00BANK0000000001", "NL00BANK0000000002"))
    assert gates.follows(second, first) == ()
    found = [(problem.code, problem.place) for problem in gates.follows(later, first)]
    assert found == [(Fault.STATEMENT_GAP, "sequence number"), (Fault.STATEMENT_GAP, "opening balance")]
    assert gates.follows(other, first)[0].code is Fault.ACCOUNT_MISMATCH


def test_sums_beyond_an_int64_are_exact() -> None:
    amounts = np.full(10_000, 10**15 - 1)
    assert exact_sum(amounts) == 10_000 * (10**15 - 1)
    assert exact_sum(-amounts) == -10_000 * (10**15 - 1)


COLUMNS = "booked_on,value_on,amount,reference,batch_reference,bank_reference,kind,reason,original,charges,count\n"


@pytest.mark.parametrize("text", [SWIFT, COLUMNS])
def test_a_byte_that_is_zero_is_refused_with_its_place(text: str) -> None:
    """No text has one and no database keeps one: found any later it would stop a custodian's whole day."""
    whole = text.encode() + b"2019-07-14,2019-07-14,0.30,A\0B,,,other,,,0.00,1\n"
    described = [(profile.load("generic-csv").layouts, "CNY")]
    with pytest.raises(InvalidInput, match=rf"^day: line {whole.count(10, 0, whole.index(0)) + 1}: a byte is 0"):
        list(recognised_in((whole[at : at + 7] for at in range(0, len(whole), 7)), "day", described)[1])


NARROW = b"6222020200112233445,Zhang San\n"


def test_rows_of_another_width_are_told_and_not_kept() -> None:
    # A custodian that adds a field adds it to millions.
    count, long = 300_000, NARROW.replace(b",", b"," + b"x" * 70)
    blocks = [b"1,2,3\n", *[long * 10_000] * (count // 10_000), b"4,5,6\n", NARROW, b"7,8,9\n"]
    numbers, told, alive = list[int](), list[int](), 0
    for some in row_batches(ByteStream(blocks), 3, {0}, {0}, ",", "utf-8"):
        numbers += some.numbers.tolist()
        told += [each.row for each in some.torn]
        alive = max(alive, sum(isinstance(each, Torn) for each in gc.get_objects()))
    assert numbers == [1, count + 2, count + 4]
    assert told == [*range(2, count + 2), count + 3]
    assert alive < count // 2


def test_a_file_of_rows_of_another_width_is_refused_in_words_that_name_nobody() -> None:
    head = WECHAT_BILL.encode().split(b"`")[0]
    with pytest.raises(InvalidInput, match=r"line 1: is not CSV in utf-8-sig: .*: Expected 7 columns, got 2$"):
        gathered(csv_bills.read([head, NARROW * 210_000], NAME, [(WECHAT, "CNY")]))
