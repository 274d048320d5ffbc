"""Records read by the pattern of one of them are as they are read as XML: that of a whole file in one piece."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.custodian.readers import camt, status
from engine.custodian.readers.shapes import _LEARNED_MAX, Shapes
from engine.errors import InvalidInput
from tests.unit.custodian.gathered import Gathered, gathered

WHOLE = 1 << 30

PATIENT = settings(deadline=timedelta(seconds=20))
"""On a busy machine."""

ENTRY = (
    "<Ntry><Amt Ccy='EUR'>{amount}</Amt><CdtDbtInd>{sign}</CdtDbtInd><BookgDt><Dt>2026-03-02</Dt></BookgDt>"
    "<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>{family}</Cd> <SubFmlyCd>ESDD</SubFmlyCd></Fmly></Domn></BkTxCd>"
    "<NtryDtls><TxDtls><Refs><EndToEndId>{text}</EndToEndId></Refs>{more}</TxDtls></NtryDtls></Ntry>"
)
CHARGED = (
    "<Chrgs><Rcrd><Amt Ccy='EUR'>{amount}</Amt></Rcrd></Chrgs><RtrInf><Rsn><Cd>AM04</Cd></Rsn></RtrInf>"
    "<RltdPties><Dbtr><Nm>{text}</Nm></Dbtr></RltdPties>"
)
ODD = [
    "<!-- <Ntry> -->",
    "<?x <Ntry>?>",
    "<Ntry/>",
    "<Ntry><Amt Ccy='EUR'>1.00</Amt></Ntry >",
    "<Ntry xmlns='urn:other'><Amt Ccy='EUR'>1.00</Amt></Ntry>",
    "<Ntry><CdtDbtInd>CRDT</CdtDbtInd><a b='x>y' c='&lt;'>1</a><Amt Ccy='EUR'>1.00</Amt></Ntry>",
    "</Stmt><Stmt>",
    "</Stmt><Stmt xmlns='urn:else'>",
]
NESTED = [
    "<Ntry><Ntry><Amt Ccy='EUR'>1.00</Amt></Ntry></Ntry>",
    "<Other><Ntry><Amt Ccy='EUR'>1.00</Amt></Ntry></Other>",
    "</Stmt></M><M xmlns='urn:third'><Stmt>",
    "</Stmt></M><M xmlns='urn:third'><Stmt xmlns='urn:camt'>",
]
"""What no message holds: the pieces cut there may be refused, but are never read as something else."""
TEXTS = [
    "E1",
    "E 2",
    "E  3",
    " E4",
    "E5 ",
    "",
    " ",
    "a&amp;b",
    "é",
    "￾",
    "\ue000",
    "\x7f",
    "x\ty",
    "<![CDATA[E]]>",
    "\\1",
]


def document(body: str, prefix: str = "") -> bytes:
    text = f"<Document xmlns='urn:camt'><M><Stmt><Acct><Id><IBAN>N</IBAN></Id></Acct>{body}</Stmt></M></Document>"
    if prefix:
        text = text.replace("</", f"</{prefix}").replace("xmlns=", f"xmlns:{prefix[:-1]}=")
        text = "".join(f"<{prefix}{part}" if part[:1].isalpha() else f"<{part}" for part in text.split("<"))[1:]
    return text.encode()


def read(data: bytes, piece_bytes: int) -> Gathered | str:
    try:
        return gathered(camt.read([data], "f.xml", "camt.053", piece_bytes=piece_bytes))
    except InvalidInput as error:
        return str(error).partition(": not well-formed")[0]


entries = st.builds(
    lambda amount, sign, family, text, charged: ENTRY.format(
        amount=amount, sign=sign, family=family, text=text, more=CHARGED if charged else ""
    ).replace("{amount}", amount).replace("{text}", text),
    st.sampled_from(["1.00", "20.00", "3", "0.001", " 4.00 "]),
    st.sampled_from(["CRDT", "DBIT", " CRDT"]),
    st.sampled_from(["IDDT", "RC DT"]),
    st.sampled_from(TEXTS[:1] * 5 + TEXTS),
    st.booleans(),
)  # fmt: skip


@PATIENT
@given(
    st.lists(entries | st.sampled_from(ODD), max_size=30), st.sampled_from(["", "\n", "\n  "]), st.integers(200, 2500)
)
@example([ENTRY.format(amount="1.00", sign="CRDT", family="IDDT", text="E1", more="")] * 20, "\n", 600)
def test_a_record_of_a_known_shape_is_read_as_xml_would_be(bodies: list[str], between: str, piece_bytes: int) -> None:
    for prefix in ("", "n:"):
        data = document(between.join(bodies), prefix)
        assert read(data, piece_bytes) == read(data, WHOLE)


@PATIENT
@given(st.lists(entries | st.sampled_from(ODD + NESTED), max_size=30), st.integers(200, 2500))
def test_records_where_none_should_be_are_read_so_or_refused(bodies: list[str], piece_bytes: int) -> None:
    data = document("".join(bodies))
    cut, whole = read(data, piece_bytes), read(data, WHOLE)
    assert cut == whole or isinstance(cut, str)


def sound(number: int) -> str:
    return ENTRY.format(amount="1.00", sign="CRDT", family="IDDT", text=f"E{number}", more="")


@pytest.mark.parametrize(
    "damage",
    [
        ("</Amt>", "</Amd>"),
        ("E70", "E\x00"),
        ("E70", "E\ufffe"),
        ("E70", "E&nobody;"),
        ("E70", "E]]>"),
        ("E70<", "E70"),
        ("'EUR'", "'EUR' Ccy='EUR'"),
        ("E70", "E<!-- "),
    ],
)
def test_what_is_damaged_among_its_like_is_refused_at_its_line(damage: tuple[str, str]) -> None:
    bodies = [sound(number) for number in range(1, 100)]
    bodies[69] = bodies[69].replace(*damage, 1)
    data = document("\n".join(bodies))
    with pytest.raises(InvalidInput, match=r"line (70|99): not well-formed"):
        gathered(camt.read([data], "f.xml", "camt.053", piece_bytes=2000))


def test_bytes_that_are_no_text_are_refused_in_parts_nobody_asks_for() -> None:
    more = "<RltdPties><Dbtr><Nm>{}</Nm></Dbtr></RltdPties>"
    bodies = [ENTRY.format(amount="1.00", sign="CRDT", family="X", text="E", more=more.format("Zoë"))] * 50
    data = document("\n".join(bodies))
    assert read(data, 2000) == read(data, WHOLE)
    at = data.rindex("ë".encode())
    with pytest.raises(InvalidInput, match="line 50: not well-formed"):
        gathered(camt.read([data[:at] + b"\xc3" + data[at + 2 :]], "f.xml", "camt.053", piece_bytes=2000))


def test_shapes_are_used_and_forgotten() -> None:
    """The tests above prove nothing unless records are replaced."""
    shapes = Shapes("Ntry", camt._SHEET)
    around = (b"<Document xmlns='urn:camt'><M><Stmt>", b"</Stmt></M></Document>")
    from lxml import etree

    piece = "\n".join(sound(number) for number in range(500)).encode()
    assert shapes.shortened(piece, around) == piece
    shapes.learn(piece, around, etree.fromstring)
    short = shapes.shortened(piece, around)
    assert short.count(b"<") == 2
    assert short.count(b"E499\t\n") == 1
    assert shapes.shortened(piece, (b"<other>", b"</other>")) == piece
    other = piece.replace(b"Stmt", b"Rpt").replace(b"<BookgDt>", b"<BookgDt/><BookgDt>")
    assert shapes.shortened(other, around) == other
    assert shapes.shortened(piece, around) == piece
    for number in range(_LEARNED_MAX + 3):
        different = piece.replace(b"<BookgDt>", b"<a%d/><BookgDt>" % number)
        shapes.learn(different, around, etree.fromstring)
        assert (shapes.shortened(different, around) != different) == (number < _LEARNED_MAX - 1)


def test_a_long_status_report_is_read_by_shapes_too() -> None:
    transaction = "<TxInfAndSts><OrgnlEndToEndId>E{}</OrgnlEndToEndId><TxSts>RJCT</TxSts></TxInfAndSts>"
    data = (
        "<Document xmlns='urn:x'><CstmrPmtStsRpt><GrpHdr/><OrgnlGrpInfAndSts/><OrgnlPmtInfAndSts>"
        + "".join(transaction.format(number) for number in range(200))
        + "</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
    ).encode()
    whole, cut = (gathered(status.read_pain_002([data], "f", "pain.002", piece_bytes=size)) for size in (WHOLE, 500))
    assert whole == cut
    assert len(whole[0][1]) == 200
