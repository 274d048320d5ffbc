"""How fast a custodian's statements are read and matched on one core, and in how much memory."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from engine.custodian import profile
from engine.custodian.gates import Tally, problems
from engine.custodian.instructions import Instructions, State
from engine.custodian.matching import Matcher
from engine.custodian.readers import read
from engine.custodian.reference import Kind, encode
from engine.custodian.statement import Footing
from engine.custodian.verdicts import MATCHED
from engine.simulator.lines import Lines
from engine.simulator.statements import CamtForm, StatementFile
from tests.unit.custodian.test_readers_memory import peak_mib

pytestmark = pytest.mark.benchmarks

ENTRIES, RUN = 300_000, 7
PER_SECOND = 100_000
PARTIES = (
    "<RltdPties><Dbtr><Pty><Nm>Umbrella Müller S.A.</Nm></Pty></Dbtr><DbtrAcct><Id><IBAN>NL30MOCK0000000005</IBAN></Id>"
    "</DbtrAcct></RltdPties><RltdAgts><DbtrAgt><FinInstnId><BICFI>MOCKNL2A</BICFI></FinInstnId></DbtrAgt></RltdAgts>"
    "<RmtInf><Ustrd>Umlage, Vertrag 5516</Ustrd></RmtInf></TxDtls>"
)


def written(path: Path, amounts: np.ndarray) -> None:
    """A statement in which every fiftieth debit is a return, too."""
    references = encode(Kind.DEBIT, RUN, 1, np.arange(ENTRIES))
    back = np.arange(0, ENTRIES, 50)
    with StatementFile(path, CamtForm(profile.load("mock-bank"), date(2026, 3, 2), "ACCOUNT", 1), 0) as file:
        file.write(Lines(references, amounts, "debit"))
        file.write(Lines(references.take(back), -amounts[back] - 300, "return", reason="AM04", charges_minor=300))


@pytest.mark.parametrize("more", ["", PARTIES], ids=["simulated", "as banks write it"])
def test_a_camt_statement_is_read_and_matched_fast(tmp_path: Path, more: str) -> None:
    path = tmp_path / "statement.xml"
    amounts = np.arange(ENTRIES) % 5_000 + 1
    written(path, amounts)
    if more:
        path.write_bytes(path.read_bytes().replace(b"</TxDtls>", more.encode()))
    states, attempts = np.full(ENTRIES, State.SENT, np.uint8), np.ones(ENTRIES, np.uint8)
    matcher, tally = Matcher([Instructions(Kind.DEBIT, RUN, amounts, states, attempts)]), Tally()
    began = time.process_time()
    for part in read(path):
        if isinstance(part, Footing):
            assert problems(part, tally) == ()
        else:
            tally.take(part)
            matcher.take(part)
    matcher.finish()
    rate = tally.lines / (time.process_time() - began)
    assert matcher.tally.by_verdict[int(MATCHED)].count == tally.lines
    assert rate >= PER_SECOND, f"{rate:,.0f} entries/s of {path.stat().st_size / tally.lines:.0f} bytes"


@pytest.mark.parametrize(("form", "room_mib"), [("csv", 32), ("camt", 16)])
def test_twenty_million_lines_need_the_memory_of_one(form: str, room_mib: int) -> None:
    assert peak_mib(form, 20_000) - peak_mib(form, 1_000) < room_mib
