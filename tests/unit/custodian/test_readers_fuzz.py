"""Every format through the one door, cut at every byte, damaged in every way: the same, refused, or a problem.

Nothing crashes, nothing hangs, and no file makes us open another.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import re
import time
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.custodian import profile
from engine.custodian.debit_files import manifest
from engine.custodian.profile import Profile
from engine.custodian.readers import Described, read, recognised_in, source
from engine.custodian.readers.camt import read as camt_read
from engine.custodian.readers.pieces import HEAD_BYTES_MAX, PIECE_BYTES_MAX
from engine.custodian.readers.status import read_pacs_004, read_pain_002
from engine.custodian.reference import Kind as Asked
from engine.custodian.reference import Reference, encode
from engine.custodian.statement import Kind
from engine.errors import InvalidInput
from engine.resources import config_dir
from engine.simulator.lines import Lines
from engine.simulator.statements import CamtForm, CsvForm, Totals
from tests.unit.custodian.gathered import Gathered, faults, gathered

ON = date(2026, 3, 2)
PROFILES = {name: profile.load(name) for name in profile.presets()}
DESCRIBED: list[Described] = [(each.layouts, each.currency) for each in PROFILES.values()]
DEADLINE = timedelta(seconds=20)
"""For one input of a few thousand bytes on a busy machine; a hang takes longer."""


BOOKED = [
    Lines(encode(Asked.DEBIT, 7, 1, [1, 3]), np.array([1000, 25]), "debit"),
    Lines(encode(Asked.DEBIT, 7, 1, [2]), np.array([-1550]), "return", reason="AM04", charges_minor=550),
]


def written(form: CsvForm | CamtForm) -> bytes:
    totals, before = Totals(10_000), Totals(10_000)
    data = b""
    for lines in BOOKED:
        data += form.lines(lines, before)
        before.add(lines.amounts)
        totals.add(lines.amounts)
    # The room that is kept for larger totals is left out, so that there are fewer places to cut.
    return re.sub(rb" {4,}", b"", form.head(totals)) + data + form.foot(totals)


def camt(body: str, statement: str) -> bytes:
    """As short as it can be, for it is cut at every byte."""
    entry = "<Ntry><Amt Ccy='EUR'>{}.00</Amt><CdtDbtInd>{}</CdtDbtInd><NtryDtls><TxDtls>{}</TxDtls></NtryDtls></Ntry>"
    entries = entry.format(3, "CRDT", "<Refs><EndToEndId>é&amp;1</EndToEndId></Refs>") + entry.format(
        2, "DBIT", "<Chrgs><Amt Ccy='EUR'>1</Amt></Chrgs><RtrInf><Rsn><Cd>X</Cd></Rsn></RtrInf>"
    )
    account = "<Acct><Id><IBAN>A</IBAN></Id></Acct>"
    return f"<Document><{body}><{statement}>{account}{entries}</{statement}></{body}></Document>".encode()


PERSONAL = {
    "alipay of a person": (
        "-----\n支付宝账户：xx@example.org\n起始时间：[2023-02-10 00:00:00]    终止时间：[2023-02-13 23:59:59]\n"
        "共2笔记录\n收入：1笔 28.50元\n支出：1笔 6.54元\n-----\n"
        "交易时间            ,交易对方  ,收/支   ,金额   ,交易订单号  ,商家订单号  ,\n"
        "2023-02-12 21:32:14 ,张三丰   ,支出    ,6.54   ,2023\t,D1\t,\n"
        "2023-02-11 21:32:14 ,李四    ,收入    ,28.50  ,2024\t,D2\t,\n"
    ).encode("gbk"),
    "wechat of a person": (
        "\ufeff微信支付账单明细,,,,\n微信昵称：[测试],,,,\n共2笔记录,,,,\n"
        "收入：1笔 0.35元,,,,\n支出：1笔 28.16元,,,,\n,,,,\n"
        "交易时间,商品,收/支,金额(元),交易单号,商户单号\n"
        '2019-09-26 12:45:27,"总:1,2","支出",¥28.16,"398"\t,"129"\n2019-09-24 10:10:11,/,收入,¥0.35,399\t,/\n'
    ).encode(),
}
SWIFT = (
    "{1:F01BANKNL2A}{2:O940BANK}{4:\r\n:20:RUN1\r\n:25:NL00BANK0000000001\r\n:28C:7/1\r\n:60F:C260301EUR100,00\r\n"
    ":61:2603020302C10,NDDTD0000110000010AA//B1\r\n:86:171?00LASTSCHRIFT?20EREF+D0000110000010AA?21SVWZ+Umlage\r\n"
    ":61:2603010302D15,50NRTID0000110000020BB//B2\r\n/OCMT/EUR10,00//CHGS/EUR5,50/\r\n:62F:C260302EUR94,50\r\n-}"
)
STATUS = (
    "<Document><CstmrPmtStsRpt><GrpHdr><MsgId>M</MsgId></GrpHdr><OrgnlGrpInfAndSts><OrgnlMsgId>F</OrgnlMsgId>"
    "<GrpSts>ACCP</GrpSts></OrgnlGrpInfAndSts><OrgnlPmtInfAndSts><OrgnlPmtInfId>P</OrgnlPmtInfId>"
    "<TxInfAndSts><OrgnlEndToEndId>E1</OrgnlEndToEndId><TxSts>RJCT</TxSts><StsRsnInf><Rsn><Cd>AC04</Cd></Rsn>"
    "</StsRsnInf></TxInfAndSts><TxInfAndSts><OrgnlEndToEndId>E2</OrgnlEndToEndId><TxSts>ACSC</TxSts></TxInfAndSts>"
    "</OrgnlPmtInfAndSts><OrgnlPmtInfAndSts><PmtInfSts>RJCT</PmtInfSts></OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
)
RETURNS = (
    "<Document><PmtRtr><GrpHdr><MsgId>M</MsgId><NbOfTxs>2</NbOfTxs><IntrBkSttlmDt>2026-03-02</IntrBkSttlmDt></GrpHdr>"
    + "".join(
        f"<TxInf><RtrId>R{n}</RtrId><OrgnlEndToEndId>E{n}</OrgnlEndToEndId><RtrdIntrBkSttlmAmt Ccy='EUR'>1{n}.00"
        "</RtrdIntrBkSttlmAmt><RtrRsnInf><Rsn><Cd>AM04</Cd></Rsn></RtrRsnInf></TxInf>"
        for n in (1, 2)
    )
    + "</PmtRtr></Document>"
)
UNIONPAY = PROFILES["unionpay"].layouts.fixed_width


def fixed_width() -> bytes:
    assert UNIONPAY is not None
    rows = []
    for reference, amount in (("D0000110000010AA", "C000001000"), ("D0000110000020BB", "D000001550")):
        row = bytearray("张".encode("gbk") * (max(sum(each) for each in UNIONPAY.fields.values()) // 2 + 2))
        texts = {"reference": reference, "amount": amount, "kind": next(iter(UNIONPAY.kinds), "")}
        texts |= {"booked_on": ON.strftime(UNIONPAY.date_format), "value_on": ON.strftime(UNIONPAY.date_format)}
        for holds, (first, length) in UNIONPAY.fields.items():
            fill = "0" if holds in {"charges", "original"} else " "
            row[first : first + length] = texts.get(holds, "").rjust(length, fill)[-length:].encode()
        if "charges" in UNIONPAY.fields:
            row[UNIONPAY.fields["charges"][0]] = ord("D")
        rows.append(bytes(row))
    return b"\r\n".join(rows) + b"\r\n"


DAIKOU = "3|6.00\nD1|622|1.00|CNY|x|0000\nD2|623|2.00|CNY|余额不足|0051\nD3|624|3.00|CNY||0000\n"
FILES = {
    "camt.053": camt("BkToCstmrStmt", "Stmt"),
    "camt.052": camt("BkToCstmrAcctRpt", "Rpt"),
    "camt.054": camt("BkToCstmrDbtCdtNtfctn", "Ntfctn"),
    "camt.053 of the simulator": written(CamtForm(PROFILES["mock-bank"], ON, "ACCOUNT", 7)),
    "pain.002": STATUS.encode(),
    "pacs.004": RETURNS.encode(),
    "mt940": SWIFT.encode(),
    **{
        f"csv of {name}": written(CsvForm(each, ON, "ACCOUNT"))
        for name, each in PROFILES.items()
        if each.layouts.csv is not None
    },
    **PERSONAL,
    "daikou": DAIKOU.encode("gbk"),
    "fixed width": fixed_width(),
}


def read_bytes(blocks: Iterable[bytes]) -> Gathered:
    return gathered(recognised_in(iter(blocks), "file", DESCRIBED)[1])


XML = [name for name, data in FILES.items() if data.startswith(b"<")]


@pytest.mark.parametrize("name", FILES)
def test_cut_at_every_byte_it_is_the_same(name: str) -> None:
    data = FILES[name]
    whole = read_bytes([data])
    assert sum(lines.num_rows for _, lines in whole) >= 2
    assert not faults(whole)
    # A short message is read whole, however it comes in; below it is cut after its records.
    for at in range(0, len(data) + 1, 41 if name in XML else 1):
        assert read_bytes([data[:at], data[at:]]) == whole, at


@pytest.mark.parametrize("name", ["camt.052", "camt.054", "pain.002", "pacs.004"])
def test_cut_at_every_byte_and_after_every_record_it_is_the_same(name: str) -> None:
    data, reader = FILES[name], {"pain.002": read_pain_002, "pacs.004": read_pacs_004}.get(name, camt_read)
    ((_, whole),) = gathered(reader([data], "file", name))
    for at in range(len(data) + 1):
        ((_, lines),) = gathered(reader([data[:at], data[at:]], "file", name, piece_bytes=1))
        assert lines == whole, at


@pytest.mark.parametrize("name", FILES)
def test_what_breaks_off_is_refused_or_wrong_or_less(name: str) -> None:
    data = FILES[name]
    whole = sum(lines.num_rows for _, lines in read_bytes([data]))
    for at in range(0, len(data) - 1, 7):
        try:
            found = read_bytes([data[:at]])
        except InvalidInput as error:
            assert "line " in str(error)  # noqa: PT017
        else:
            assert sum(lines.num_rows for _, lines in found) <= whole


KINDS = set(Kind)


def check(data: bytes) -> None:
    try:
        found = read_bytes([data])
    except InvalidInput as error:
        assert "line " in str(error)  # noqa: PT017
    else:
        for footing, lines in found:
            assert set(lines["kind"].to_pylist()) <= KINDS
            assert footing.entries >= 0
        faults(found)


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
@settings(deadline=DEADLINE, max_examples=200)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    check(data)


MARKS = [
    *(b"\n", b"\r", b"\0", b"|", b",", b'"', b"'", b"\t", b"#", b"-", b".", b"9" * 40, b"1e9", b"NaN"),
    *(b"<", b"</", b">", b"&lt;", b"]]>", b"<!--", b"<?", b":61:", b":86:", b":62F:", b"?20", b"\n-"),
    *(b"\xa1", b"\xe5", b"\xff\xfe", "张".encode("gbk"), "张".encode(), b"\xef\xbf\xbf"),
]
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=6) | st.sampled_from(MARKS)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", FILES)
@given(edits=EDITS, again=st.booleans())
@settings(deadline=DEADLINE, max_examples=60)
def test_what_looks_real_and_is_damaged_is_read_or_refused(
    name: str, edits: list[tuple[float, int, bytes]], *, again: bool
) -> None:
    data = FILES[name]
    for where, cut, put in edits:
        at = int(where * len(data))
        data = data[:at] + put + data[at + cut :]
    check(data + data if again else data)


@given(st.sampled_from(profile.presets()), EDITS)
@settings(deadline=DEADLINE, max_examples=150)
def test_a_damaged_profile_is_read_or_refused(name: str, edits: list[tuple[float, int, bytes]]) -> None:
    text = (config_dir() / "custodians" / f"{name}.toml").read_text("utf-8")
    for where, cut, put in edits:
        at = int(where * len(text))
        text = text[:at] + put.decode("latin-1") + text[at + cut :]
    try:
        assert isinstance(profile.parse(text, "file.toml"), Profile)
    except InvalidInput as error:
        assert "file.toml" in str(error)  # noqa: PT017


@settings(deadline=DEADLINE)
@given(st.text(max_size=40) | st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ ", min_size=14, max_size=18))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = Reference.read(text)
    except InvalidInput:
        return
    assert str(found) == "".join(text.split()).upper()


JSON = st.recursive(st.none() | st.integers() | st.text(max_size=9), st.lists).map(json.dumps).map(str.encode)


@settings(deadline=DEADLINE)
@given(st.binary(max_size=200) | JSON)
def test_any_bytes_are_a_manifest_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.manifest.json"
    path.write_bytes(data)
    with pytest.raises(InvalidInput):
        manifest.read(path)


ENTRIES = '<!ENTITY a "ha">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise("abcdefgh"))
START = "<BkToCstmrStmt><Stmt><Acct><Id><IBAN>N</IBAN></Id></Acct>"
END = "</Stmt></BkToCstmrStmt></Document>"


@pytest.mark.parametrize(
    "xml",
    [
        f"<!DOCTYPE Document [{ENTRIES}]><Document>{START}<Ntry>&h;</Ntry>{END}",
        f"<!DOCTYPE d SYSTEM 'file:///etc/passwd'><Document>{START}{END}",
        f"<!DOCTYPE d [<!ENTITY % x SYSTEM 'http://127.0.0.1:9/'> %x;]><Document>{START}{END}",
        f"<Document>{START}<Ntry><!DOCTYPE d></Ntry>{END}",
        f"<Document>{START}<!ELEMENT a ANY><Ntry/>{END}",
        f"<Document>{START}<Ntry><Amt Ccy='{'E' * 11_000_000}'>1</Amt></Ntry>{END}",
        f"<Document>{START}<Ntry><Amt Ccy='EUR'>{'1' * 11_000_000}</Amt></Ntry>{END}",
        f"<Document>{START}<Ntry>{'<a>' * 300}{'</a>' * 300}</Ntry>{END}",
        f"<Document>{START}<Ntry a='1' b='2' a='3'/>{END}",
        f"<Document>{START}<Ntry>&undefined;</Ntry>{END}",
        f"<Document>{START}<Ntry><{'n' * 60_000}/></Ntry>{END}",
    ],
    ids=[
        *("laughs", "external", "parameter", "inside", "element"),
        *("attribute", "text", "deep", "twice", "undefined", "name"),
    ],
)
def test_what_xml_could_hide_is_refused(xml: str) -> None:
    data = xml.encode()
    for blocks in ([data], [data[at : at + (1 << 16)] for at in range(0, len(data), 1 << 16)]):
        with pytest.raises(InvalidInput, match=r"line \d+: (not well-formed|has a document type|more than)"):
            read_bytes(blocks)


def test_no_instruction_in_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("<Ntry/>")
    include = f"<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='{tmp_path}/secret'/>"
    data = f"<?xml-stylesheet href='{tmp_path}/secret'?><Document>{START}{include}{END}".encode()
    ((footing, _),) = read_bytes([data])
    assert footing.entries == 0


def endless(start: bytes, block: bytes) -> Iterator[bytes]:
    yield start
    yield from itertools.repeat(block.ljust(1 << 20, block[-1:]))


@pytest.mark.parametrize(
    ("blocks", "most"),
    [
        (endless(f"<Document>{START}<Ntry/><Ntry>".encode(), b"x"), PIECE_BYTES_MAX),
        (endless(f"<Document>{START}".encode(), b"x"), HEAD_BYTES_MAX),
        (endless(b"<Document><BkToCstmrStmt a='", b"x"), HEAD_BYTES_MAX),
        (endless(b"<Document><BkToCstmrStmt><!--", b"</Ntry>" * 150_000), HEAD_BYTES_MAX),
    ],
    ids=["record", "head", "attribute", "comment"],
)
def test_what_never_ends_is_refused(blocks: Iterator[bytes], most: int) -> None:
    with pytest.raises(InvalidInput, match=f"more than {most >> 20} MiB without the end of a <Ntry>"):
        read_bytes(blocks)


@pytest.mark.parametrize(
    "data",
    [
        b"a,b\n" * 400_000,
        b"1|1.00\n" * 300_000,
        b'"' * 2_000_000,
        b"\n" * 2_000_000,
        b"<" * 2_000_000,
        b":20:A\n" + b"{2:I\n" * 300_000,
        b":20:A\n:86:" + b"?20" * 1_000_000,
        f"<Document>{START}<Ntry></Ntry>{'<b></b>' * 300_000}".encode(),
        f"<Document>{START}{'<b></b>' * 300_000}".encode(),
        f"<Document>{START}<Ntry></Ntry>{'</Ntrx>' * 300_000}".encode(),
    ],
    ids=["rows", "daikou", "quotes", "lines", "signs", "swift", "subfields", "elements", "head", "ends"],
)
def test_no_two_megabytes_take_long(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InvalidInput):
        read_bytes(data[at : at + (1 << 18)] for at in range(0, len(data), 1 << 18))
    assert time.process_time() - began < 5


def zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (zipped({"a": zipped({"a": FILES["mt940"]})}), "line 1: is neither"),
        (zipped({}), "packed, and damaged|holds 0 files|line 1: is neither"),
        (zipped({"a": b"1", "../../b": b"2"}), "holds 2 files"),
        (zipped({"a": FILES["mt940"]})[:-30], "packed, and damaged"),
        (gzip.compress(FILES["mt940"])[:40], "packed, and damaged"),
    ],
    ids=["nested", "nothing", "several", "torn zip", "torn gzip"],
)
def test_what_is_packed_too_well_or_badly_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "statement.bin"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match=words):
        gathered(read(path, DESCRIBED))


@pytest.mark.parametrize("data", [gzip.compress(bytes(20_000_000)), zipped({"a": bytes(20_000_000)})])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bomb.bin"
    path.write_bytes(data)
    with pytest.raises(InvalidInput, match="unpacks to more than"):
        list(source.blocks(path))


@given(EDITS)
@settings(deadline=DEADLINE, max_examples=60)
def test_a_damaged_package_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[float, int, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    for data in (gzip.compress(FILES["mt940"]), zipped({"a": FILES["mt940"]})):
        damaged = data
        for where, cut, put in edits:
            at = int(where * len(damaged))
            damaged = damaged[:at] + put + damaged[at + cut :]
        path.write_bytes(damaged)
        try:
            gathered(read(path, DESCRIBED))
        except InvalidInput:
            continue
