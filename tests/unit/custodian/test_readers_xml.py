from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.custodian import gates
from engine.custodian.readers import camt, status
from engine.custodian.statement import Fault, Footing
from engine.errors import InvalidInput
from tests.unit.custodian.gathered import Gathered, faults, gathered

NAME = "statement.xml"


def document(body: str, *, head: str = "", message: str = "camt.053.001.08", prefix: str = "") -> bytes:
    text = (
        f"<?xml version='1.0' encoding='UTF-8'?>\n<!-- </Ntry> of nothing --><Document "
        f"xmlns{prefix and ':' + prefix.strip(':')}='urn:iso:std:iso:20022:tech:xsd:{message}'>"
        f"<BkToCstmrStmt><GrpHdr><MsgId>M</MsgId>{head}</GrpHdr>{body}</BkToCstmrStmt></Document>"
    )
    if prefix:
        for name in ("Document", "BkToCstmrStmt", "GrpHdr", "MsgId", "Stmt", "Ntry", "Amt", "CdtDbtInd"):
            text = text.replace(f"<{name}", f"<{prefix}{name}").replace(f"</{name}", f"</{prefix}{name}")
    return text.encode()


def balance(code: str, amount: str, sign: str = "CRDT", currency: str = "EUR") -> str:
    return (
        f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy='{currency}'>{amount}</Amt>"
        f"<CdtDbtInd>{sign}</CdtDbtInd><Dt><Dt>2026-03-02</Dt></Dt></Bal>"
    )


def statement(entries: str, opening: str = "100.00", closing: str = "100.00", more: str = "") -> str:
    return (
        "<Stmt><Id>S1</Id><ElctrncSeqNb>7</ElctrncSeqNb><Acct><Id><IBAN>NL00BANK0000000001</IBAN></Id><Ccy>EUR</Ccy></Acct>"
        f"{balance('OPBD', opening)}{balance('CLBD', closing)}{more}{entries}</Stmt>"
    )


def entry(amount: str, sign: str = "CRDT", more: str = "", *, details: str = "", state: str = "BOOK") -> str:
    return (
        f"<Ntry><Amt Ccy='EUR'>{amount}</Amt><CdtDbtInd>{sign}</CdtDbtInd><Sts><Cd>{state}</Cd></Sts>"
        f"<BookgDt><Dt>2026-03-02</Dt></BookgDt><ValDt><DtTm>2026-03-01T10:00:00Z</DtTm></ValDt>"
        f"<AcctSvcrRef>B</AcctSvcrRef>{more}{f'<NtryDtls>{details}</NtryDtls>' if details else ''}</Ntry>"
    )


def detail(reference: str, amount: str | None = None, more: str = "", sign: str = "") -> str:
    money = f"<Amt Ccy='EUR'>{amount}</Amt>" if amount else ""
    money += f"<CdtDbtInd>{sign}</CdtDbtInd>" if sign else ""
    return f"<TxDtls><Refs><EndToEndId>{reference}</EndToEndId></Refs>{money}{more}</TxDtls>"


def read(data: bytes, *, piece_bytes: int = 1 << 20) -> Gathered:
    return gathered(camt.read([data], NAME, "camt.053.001.08", piece_bytes=piece_bytes))


def only(data: bytes) -> tuple[Footing, list[dict[str, object]]]:
    ((footing, lines),) = read(data)
    return footing, lines.to_pylist()


MIXED = document(
    statement(
        entry("10.00", details=detail("E1"))
        + "<!-- <Ntry> and </Ntry> in a comment -->"
        + entry("5.00", "DBIT", details=detail("E&amp;2", "2.00") + detail("E3", "3.00"))
        + entry("0.50", "DBIT", "<AddtlNtryInf><![CDATA[</Ntry><Ntry>]]></AddtlNtryInf>"),
        closing="104.50",
    )
    + statement(entry("1.00").replace("</Ntry>", "</Ntry \n>") + entry("2.00"), "0.00", "3.00")
    + statement("", "3.00", "3.00")
)


PLAIN = "<Ntry><Amt Ccy='EUR'>{}</Amt><CdtDbtInd>CRDT</CdtDbtInd>{}</Ntry>"
SHORT = document(
    "<Stmt><Acct><Id><IBAN>A</IBAN></Id></Acct>"
    + PLAIN.format("10.00", f"<NtryDtls>{detail('E&amp;1', '4.00')}{detail('é', '6.00')}</NtryDtls>")
    + f"<!-- <Ntry></Ntry> -->{PLAIN.format('5.00', '<NtryRef><![CDATA[</Ntry>]]></NtryRef>')}</Stmt>"
    + f"<Stmt><Acct><Id><IBAN>B</IBAN></Id></Acct>{PLAIN.format('1.00', '')}</Stmt><Stmt/>"
)


def test_every_split_of_the_bytes_gives_the_same() -> None:
    whole = read(SHORT)
    assert [lines["amount_minor"].to_pylist() for _, lines in whole] == [[400, 600, 500], [100], []]
    assert whole[0][1]["reference"].to_pylist() == ["E&1", "é", None]
    for at in range(len(SHORT) + 1):
        assert gathered(camt.read([SHORT[:at], SHORT[at:]], NAME, "camt.053.001.08", piece_bytes=1)) == whole, at


def test_byte_by_byte_gives_the_same() -> None:
    assert [(footing.entries, lines.num_rows) for footing, lines in read(MIXED)] == [(3, 4), (2, 2), (0, 0)]
    blocks = [MIXED[at : at + 1] for at in range(len(MIXED))]
    assert gathered(camt.read(blocks, NAME, "camt.053.001.08", piece_bytes=1)) == read(MIXED)


def test_prefixed_names_are_read_in_pieces_too() -> None:
    body = statement("".join(f"<Ntry><Amt Ccy='EUR'>{n}.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></Ntry>" for n in (1, 2, 3)))
    data = document(body, prefix="n:")
    data = data.replace(b"<Id>", b"<n:Id>").replace(b"</Id>", b"</n:Id>").replace(b"<Acct>", b"<n:Acct>")
    for name in (b"Acct", b"IBAN", b"Ccy", b"Bal", b"Tp", b"CdOrPrtry", b"Cd", b"Dt", b"ElctrncSeqNb"):
        data = data.replace(b"<" + name + b">", b"<n:" + name + b">").replace(
            b"</" + name + b">", b"</n:" + name + b">"
        )
    assert read(data, piece_bytes=1) == read(data)
    ((_, lines),) = read(data)
    assert lines["amount_minor"].to_pylist() == [100, 200, 300]


def test_the_plain_columns() -> None:
    _, (line,) = only(document(statement(entry("10.00", details=detail("E1")), closing="110.00")))
    assert line == {
        "ordinal": 1,
        "line": None,
        "place": "entry 1",
        "booked_on": date(2026, 3, 2),
        "value_on": date(2026, 3, 1),
        "amount_minor": 1000,
        "reference": "E1",
        "batch_reference": None,
        "bank_reference": "B",
        "kind": "other",
        "reason": None,
        "original_minor": None,
        "charges_minor": 0,
        "count": 1,
    }


INSTRUCTED = "<AmtDtls><InstdAmt><Amt Ccy='EUR'>10.00</Amt></InstdAmt></AmtDtls>"


@pytest.mark.parametrize(
    ("money", "original", "charges"),
    [
        (
            INSTRUCTED + "<Chrgs><Rcrd><Amt Ccy='EUR'>3.00</Amt></Rcrd><Rcrd><Amt Ccy='EUR'>2.50</Amt></Rcrd></Chrgs>",
            1000,
            550,
        ),
        ("<Chrgs><Amt Ccy='EUR'>3.00</Amt></Chrgs><Chrgs><Amt Ccy='EUR'>2.50</Amt></Chrgs>", 1000, 550),
        ("<Chrgs><TtlChrgsAndTaxAmt Ccy='EUR'>5.50</TtlChrgsAndTaxAmt></Chrgs>", 1000, 550),
        (
            INSTRUCTED + "<Chrgs><Rcrd><Amt Ccy='EUR'>3.00</Amt></Rcrd></Chrgs>",
            1000,
            550,
        ),
        ("<Chrgs><Rcrd><Amt Ccy='USD'>5.50</Amt></Rcrd></Chrgs>", 1550, 0),
        ("", 1550, 0),
    ],
    ids=["both", "old", "total", "own charges only", "foreign", "none"],
)
def test_a_return_is_its_original_and_the_charges(money: str, original: int, charges: int) -> None:
    returned = detail("E1", more=f"{money}<RtrInf><Rsn><Cd>AM04</Cd></Rsn></RtrInf>")
    _, (line,) = only(document(statement(entry("15.50", "DBIT", details=returned), closing="84.50")))
    assert (line["kind"], line["reason"], line["amount_minor"]) == ("return", "AM04", -1550)
    assert (line["original_minor"], line["charges_minor"]) == (original, charges)


TWO = detail("E1", "1.00") + detail("E2", "2.00")
BATCH = "<Btch><PmtInfId>P</PmtInfId><NbOfTxs>{0}</NbOfTxs></Btch>"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (TWO, [(100, "E1", 1), (200, "E2", 1)]),
        (BATCH.format(2) + TWO, [(100, "E1", 1), (200, "E2", 1)]),
        (BATCH.format(9) + TWO, [(300, None, 9)]),
        (BATCH.format(9), [(300, None, 9)]),
        (BATCH.format(1) + detail("E1"), [(300, "E1", 1)]),
        (BATCH.format(7) + detail("E1"), [(300, None, 7)]),
        (detail("E1", "1.00") + detail("E2", "1.99"), [(300, None, 2)]),
        (detail("E1", "1.00") + detail("E2"), [(300, None, 2)]),
        (detail("E1", "1.00", sign="DBIT") + detail("E2", "2.00", sign="DBIT"), [(100, "E1", 1), (200, "E2", 1)]),
        (detail("E1", "5.00", sign="CRDT") + detail("E2", "2.00", sign="DBIT"), [(300, None, 2)]),
        (TWO.replace("EUR", "USD"), [(300, None, 2)]),
    ],
)
def test_an_entry_is_a_line_for_each_detail_only_where_they_add_up(
    details: str, expected: list[tuple[int, str | None, int]]
) -> None:
    footing, lines = only(document(statement(entry("3.00", details=details), closing="103.00")))
    assert footing.entries == 1
    assert [(line["amount_minor"], line["reference"], line["count"]) for line in lines] == expected


def test_a_pending_entry_moves_no_money_and_is_not_lost() -> None:
    data = document(statement(entry("9.00", state="PDNG") + entry("1.00"), closing="101.00"))
    footing, (pending, _) = only(data)
    assert (footing.entries, footing.credit_entries) == (2, 1)
    assert [pending[name] for name in ("amount_minor", "original_minor", "kind", "reason")] == [0, 900, "other", "PDNG"]
    assert faults(read(data)) == []


@pytest.mark.parametrize(
    ("code", "more", "kind"),
    [
        ("PMNT/IDDT/ESDD", "", "debit"),
        ("PMNT/IDDT/UPDD", "", "return"),
        ("PMNT/RCDT/ESCT", "", "top-up"),
        ("PMNT/ICDT/ESCT", "", "payout"),
        ("PMNT/RCDT/ESCT", "<RvslInd>true</RvslInd>", "reversal"),
        ("ACMT/MDOP/CHRG", "", "charge"),
        ("ACMT/MCOP/INTR", "", "interest"),
        ("CAMT/ACCB/SWEP", "", "transfer"),
        ("PMNT/NTAV/NTAV", "", "other"),
    ],
)
def test_the_kind_follows_the_code(code: str, more: str, kind: str) -> None:
    domain, family, subfamily = code.split("/")
    told = f"<BkTxCd><Domn><Cd>{domain}</Cd>\n<Fmly><Cd>{family}</Cd>\n<SubFmlyCd>{subfamily}</SubFmlyCd></Fmly></Domn>"
    _, (line,) = only(document(statement(entry("1.00", more=f"{more}{told}</BkTxCd>"))))
    assert line["kind"] == kind


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (document(statement(entry("1.00"), closing="101.00")), []),
        (document(statement(entry("1.00"))), [(Fault.BALANCE_BREAK, "closing balance")]),
        (document(statement(entry("1.00000"), closing="101.00")), []),
        (
            document(statement(entry("1.00001"), closing="101.00")),
            [(Fault.INEXACT_AMOUNT, "entry 1"), (Fault.BALANCE_BREAK, "closing balance")],
        ),
        (document(statement(entry("1e2"))), [(Fault.INEXACT_AMOUNT, "entry 1")]),
        (document(statement(entry("99999999999999.00"))), [(Fault.INEXACT_AMOUNT, "entry 1")]),
        (
            document(statement(entry("1.00") + entry("-1.00"), closing="100.00")),
            [(Fault.UNREADABLE, "entry 2")],
        ),
        (
            document(statement(entry("0.00", "CREDIT"))),
            [(Fault.UNREADABLE, "entry 1")],
        ),
        (
            document(statement(entry("1.00").replace("EUR", "USD"), closing="101.00")),
            [(Fault.CURRENCY_MISMATCH, "entry 1")],
        ),
        (
            document(statement(entry("1.00").replace("2026-03-02", "2026-02-30"), closing="101.00")),
            [(Fault.UNREADABLE, "entry 1")],
        ),
        (
            document(statement(""), head="<MsgPgntn><PgNb>1</PgNb><LastPgInd>false</LastPgInd></MsgPgntn>"),
            [(Fault.STATEMENT_GAP, "page 1")],
        ),
        (
            document(
                statement(
                    entry("1.00"),
                    closing="101.00",
                    more="<TxsSummry><TtlNtries><NbOfNtries>2</NbOfNtries><Sum>1.00</Sum></TtlNtries>"
                    "<TtlCdtNtries><NbOfNtries>1</NbOfNtries><Sum>2.00</Sum></TtlCdtNtries></TxsSummry>",
                )
            ),
            [(Fault.TOTALS_BREAK, "totals TtlCdtNtries"), (Fault.TOTALS_BREAK, "totals TtlNtries")],
        ),
        (
            document(
                statement(
                    entry("3.00", "DBIT", details=detail("E1", "1.00") + detail("E2", "2.00")),
                    closing="97.00",
                    more="<TxsSummry><TtlNtries><NbOfNtries>1</NbOfNtries><Sum>3.00</Sum><TtlNetNtry><Amt>3.00</Amt>"
                    "<CdtDbtInd>DBIT</CdtDbtInd></TtlNetNtry></TtlNtries>"
                    "<TtlDbtNtries><NbOfNtries>1</NbOfNtries><Sum>3.00</Sum></TtlDbtNtries></TxsSummry>",
                )
            ),
            [],
        ),
        (document(statement("").replace("NL00BANK0000000001", " ")), [(Fault.ACCOUNT_MISMATCH, "statement")]),
    ],
)
def test_what_is_wrong_is_named_by_its_place(data: bytes, expected: list[tuple[Fault, str]]) -> None:
    assert faults(read(data)) == expected


def test_no_wrong_files_fill_the_memory_with_problems() -> None:
    data = document(statement("".join(entry("1.001") for _ in range(500))))
    ((footing, _),) = read(data)
    assert len(footing.problems) == 21
    assert footing.problems[-1].message == "and 480 more problems after this one"


SOUND = document(statement(entry("1.00"), closing="101.00"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            SOUND.replace(b"?>\n", b"?>\n<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>"),
            "line 2: has a document type",
        ),
        (SOUND.replace(b"1.00</Amt>", b"&e;</Amt>"), "line 2: not well-formed"),
        (SOUND[: len(SOUND) // 2], "line 2: not well-formed"),
        (SOUND[:-3], "line 2: not well-formed"),
        (SOUND + b"<more/>", "line 2: not well-formed"),
        (SOUND.decode().encode("utf-16"), "line 1: is in UTF-16"),
        (SOUND.replace(b"UTF-8", b"UTF-7"), "line 1: declares the encoding UTF-7"),
        (SOUND.replace(b"NL00", b"\xff\xfe"), "not well-formed"),
        (document(""), "line 2: camt.053.001.08 holds no statement"),
        (b"", "line 1"),
        (b"<a>" * 400, "not well-formed"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_line(data: bytes, words: str) -> None:
    for piece_bytes in (1, 1 << 20):
        with pytest.raises(InvalidInput, match=words):
            read(data, piece_bytes=piece_bytes)


def test_every_truncation_is_refused() -> None:
    for at in range(len(SHORT)):
        with pytest.raises(InvalidInput):
            read(SHORT[:at], piece_bytes=1)


@settings(deadline=timedelta(seconds=20))
@given(st.binary(max_size=300), st.integers(0, len(MIXED)), st.integers(0, 40))
def test_random_bytes_are_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    for reader in (camt.read, status.read_pain_002, status.read_pacs_004):
        for data in (noise, MIXED[:at] + noise + MIXED[at + cut :]):
            try:
                gathered(reader([data], NAME, "message", piece_bytes=64))
            except InvalidInput as error:
                assert "line " in str(error)  # noqa: PT017


def report(body: str, group: str = "<GrpSts>ACTC</GrpSts>") -> bytes:
    return (
        "<Document><CstmrPmtStsRpt><GrpHdr><MsgId>M</MsgId><CreDtTm>2026-03-02T08:00:00</CreDtTm></GrpHdr>"
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>FILE</OrgnlMsgId>{group}</OrgnlGrpInfAndSts>{body}</CstmrPmtStsRpt></Document>"
    ).encode()


def payment(name: str, transactions: str, state: str = "", count: int = 2) -> str:
    return (
        f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{name}</OrgnlPmtInfId><OrgnlNbOfTxs>{count}</OrgnlNbOfTxs>"
        f"{state}{transactions}</OrgnlPmtInfAndSts>"
    )


def transaction(reference: str, state: str, reason: str = "") -> str:
    said = f"<StsRsnInf><Rsn><Cd>{reason}</Cd></Rsn></StsRsnInf>" if reason else ""
    return (
        f"<TxInfAndSts><OrgnlEndToEndId>{reference}</OrgnlEndToEndId><TxSts>{state}</TxSts>{said}"
        "<OrgnlTxRef><Amt><InstdAmt Ccy='EUR'>4.00</InstdAmt></Amt></OrgnlTxRef></TxInfAndSts>"
    )


REPORT = report(
    payment("P1", transaction("E1", "ACCP") + transaction("E2", "RJCT", "AC04"), "<PmtInfSts>ACCP</PmtInfSts>")
    + payment("P2", "", "<PmtInfSts>RJCT</PmtInfSts><StsRsnInf><Rsn><Cd>AM04</Cd></Rsn></StsRsnInf>", 5)
    + payment("P3", transaction("E3", "RJCT"), "<PmtInfSts>ACCP</PmtInfSts>")
)


def test_the_lowest_level_of_a_status_report_wins() -> None:
    ((footing, lines),) = gathered(status.read_pain_002([REPORT], NAME, "pain.002.001.10"))
    assert footing.entries == 3
    found = [
        tuple(line[name] for name in ("place", "reference", "batch_reference", "kind", "reason", "count"))
        for line in lines.to_pylist()
    ]
    assert found == [
        ("transaction 1", "E1", "P1", "other", "ACCP", 1),
        ("transaction 2", "E2", "P1", "return", "AC04", 1),
        ("payment 2", None, "P2", "return", "AM04", 5),
        ("transaction 3", "E3", "P3", "return", "RJCT", 1),
    ]
    assert set(lines["amount_minor"].to_pylist()) == {0}
    assert lines["original_minor"].to_pylist() == [400, 400, None, 400]


@pytest.mark.parametrize(
    ("own", "state", "count", "rest"),
    [
        (["RJCT"], "RJCT", 5, [("payment 1", "P1", "AM04", 4)]),
        (["RJCT", "RJCT"], "RJCT", 2, []),
        (["RJCT", "ACCP"], "RJCT", 5, []),
        (["RJCT"], "PART", 5, []),
        (["RJCT"], "ACCP", 5, []),
    ],
    ids=["others", "all named", "contradiction", "part", "accepted"],
)
def test_what_is_refused_with_the_batch_is_told_once(
    own: list[str], state: str, count: int, rest: list[tuple[str, str, str, int]]
) -> None:
    said = f"<PmtInfSts>{state}</PmtInfSts><StsRsnInf><Rsn><Cd>AM04</Cd></Rsn></StsRsnInf>"
    transactions = "".join(transaction(f"E{n}", each, "AC04") for n, each in enumerate(own))
    ((footing, lines),) = gathered(
        status.read_pain_002([report(payment("P1", transactions, said, count))], NAME, "pain.002", piece_bytes=1)
    )
    assert footing.entries == len(own)
    found = [
        tuple(line[name] for name in ("place", "batch_reference", "reason", "count")) for line in lines.to_pylist()
    ]
    assert found[len(own) :] == rest


def test_a_refused_file_is_one_line() -> None:
    data = report("", "<OrgnlNbOfTxs>9</OrgnlNbOfTxs><GrpSts>RJCT</GrpSts>")
    ((footing, lines),) = gathered(status.read_pain_002([data], NAME, "pain.002"))
    assert footing.entries == 0
    assert [(line["place"], line["reason"], line["count"]) for line in lines.to_pylist()] == [("group", "RJCT", 9)]


RETURNS = (
    "<Document><PmtRtr><GrpHdr><MsgId>M</MsgId><NbOfTxs>{count}</NbOfTxs><IntrBkSttlmDt>2026-03-02</IntrBkSttlmDt>"
    "</GrpHdr><OrgnlGrpInf><OrgnlMsgNmId>{order}</OrgnlMsgNmId></OrgnlGrpInf>"
    "<TxInf><RtrId>R1</RtrId><OrgnlEndToEndId>E1</OrgnlEndToEndId>"
    "<OrgnlIntrBkSttlmAmt Ccy='EUR'>10.00</OrgnlIntrBkSttlmAmt>"
    "<RtrdIntrBkSttlmAmt Ccy='EUR'>{amount}</RtrdIntrBkSttlmAmt><RtrRsnInf><Rsn><Cd>AM04</Cd></Rsn></RtrRsnInf></TxInf>"
    "</PmtRtr></Document>"
)


@pytest.mark.parametrize(
    ("order", "amount", "expected"),
    [("pain.008.001.08", "15.50", (-1550, 1000, 550)), ("pain.001.001.09", "9.00", (900, 1000, 100))],
)
def test_returns_between_banks(order: str, amount: str, expected: tuple[int, int, int]) -> None:
    data = RETURNS.format(count=1, order=order, amount=amount).encode()
    ((footing, lines),) = gathered(status.read_pacs_004([data], NAME, "pacs.004"))
    (line,) = lines.to_pylist()
    assert (line["amount_minor"], line["original_minor"], line["charges_minor"]) == expected
    assert (line["kind"], line["reason"], line["reference"], line["booked_on"]) == (
        "return",
        "AM04",
        "E1",
        date(2026, 3, 2),
    )
    tally = gates.Tally()
    tally.take(lines.to_batches()[0])
    assert gates.problems(footing, tally) == ()


def test_a_missing_return_is_noticed() -> None:
    data = RETURNS.format(count=2, order="pain.008", amount="10.00").encode()
    ((footing, _),) = gathered(status.read_pacs_004([data], NAME, "pacs.004"))
    (problem,) = gates.problems(footing, gates.Tally(1, 0, 1000))
    assert problem.code is Fault.TOTALS_BREAK
