"""A statement of any length is read in the same memory: measured in a process of its own, for the peak stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

READING = """
import sys
from itertools import chain, repeat
from pathlib import Path

from engine.custodian.gates import Tally, problems
from engine.custodian.profile import load
from engine.custodian.readers import recognised_in
from engine.custodian.statement import Footing

layouts = load("generic-csv").layouts
LINE = "2026-03-02,2026-03-02,1.00,D0000110000010AA,,B1,debit,,,,1\\n"
ENTRY = (
    "<Ntry><Amt Ccy='EUR'>1.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-03-02</Dt>"
    "</BookgDt><NtryDtls><TxDtls><Refs><EndToEndId>D0000110000010AA</EndToEndId></Refs>{more}</TxDtls></NtryDtls></Ntry>\\n"
)
form, thousands = sys.argv[1], int(sys.argv[2])
money = f"{1000 * thousands}.00"
TOTALS = f"#entries,{1000 * thousands}\\n#opening,0.00\\n#closing,{money}\\n#credits,{money}\\n#debits,0.00\\n"
FORMS = {
    "csv": (",".join(layouts.csv.fields.values()) + "\\n", LINE * 1000, TOTALS),
    "camt": (
        "<Document><BkToCstmrStmt><Stmt><Acct><Id><IBAN>N</IBAN></Id></Acct>\\n",
        "".join(ENTRY.format(more=f"<RltdPties><Dbtr><Nm>{n * 7}</Nm></Dbtr></RltdPties>") for n in range(1000)),
        "</Stmt></BkToCstmrStmt></Document>",
    ),
}
head, lines, foot = (text.encode() for text in FORMS[form])
tally = Tally()
for part in recognised_in(chain([head], repeat(lines, thousands), [foot]), form, [(layouts, "EUR")])[1]:
    if isinstance(part, Footing):
        assert problems(part, tally) == ()
    else:
        tally.take(part)
assert (tally.lines, tally.credits) == (1000 * thousands, 100_000 * thousands), tally
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) >> 10)
"""


def peak_mib(form: str, thousands: int) -> int:
    command = [sys.executable, "-c", READING, form, str(thousands)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize(("form", "some", "many"), [("csv", 1000, 4000), ("camt", 40, 400)])
def test_many_more_lines_need_no_more_memory(form: str, some: int, many: int) -> None:
    # What is kept free for the next batch grows a little; a line that was kept would be a hundred bytes.
    assert peak_mib(form, many) - peak_mib(form, some) < 32
