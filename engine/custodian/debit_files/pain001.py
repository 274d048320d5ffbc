"""ISO 20022 customer credit transfers, pain.001.001.09 and .03: aid and refunds paid out, one `PmtInf` a file.

Written as pain.008 is: texts that vary between files are escaped once, those that vary between payees are letters and
digits. The payee's bank follows from the IBAN.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

import pyarrow as pa

from engine.custodian.debit_files.batch import Batch
from engine.custodian.debit_files.pain008 import check_iban
from engine.custodian.debit_files.rows import Rows, in_major, joined
from engine.custodian.profile import AccountNumbers, BookingMode, Pain001Payouts, Profile
from engine.money import to_major


class Pain001:
    """The form of a pain.001 file; see `files.Form`. Raises InvalidInput where the plan's account has no IBAN."""

    suffix = ".xml"
    foot = b"</PmtInf></CstmrCdtTrfInitn></Document>\n"

    def __init__(self, profile: Profile, payouts: Pain001Payouts, numbers: AccountNumbers, batch: Batch) -> None:
        check_iban(profile, numbers, payouts.format)
        self._version = payouts.format
        self._booked_as_one = profile.booking is not BookingMode.PER_DEBIT
        self._holder = escape(profile.account.holder)
        self._bic = profile.account.bic
        self._numbers = numbers
        self._batch = batch
        self._row = _row(profile.currency, escape(payouts.payee_name), escape(payouts.purpose))

    def head(self, reference: str, count: int, amount_minor: int) -> bytes:
        """Up to the first payment of a file of so many with this sum; the file's reference names message and batch."""
        is_old = self._version.endswith(".03")
        totals = f"<NbOfTxs>{count}</NbOfTxs><CtrlSum>{to_major(amount_minor)}</CtrlSum>"
        day = self._batch.debit_on.isoformat()
        bic = "BIC" if is_old else "BICFI"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{self._version}"><CstmrCdtTrfInitn>\n'
            f"<GrpHdr><MsgId>{reference}</MsgId>"
            f"<CreDtTm>{self._batch.created_at.isoformat(timespec='seconds')}</CreDtTm>{totals}"
            f"<InitgPty><Nm>{self._holder}</Nm></InitgPty></GrpHdr>\n"
            f"<PmtInf><PmtInfId>{reference}</PmtInfId><PmtMtd>TRF</PmtMtd>"
            f"<BtchBookg>{str(self._booked_as_one).lower()}</BtchBookg>{totals}"
            "<PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl></PmtTpInf>"
            f"<ReqdExctnDt>{day if is_old else f'<Dt>{day}</Dt>'}</ReqdExctnDt>"
            f"<Dbtr><Nm>{self._holder}</Nm></Dbtr>"
            f"<DbtrAcct><Id><IBAN>{self._numbers.number}</IBAN></Id></DbtrAcct>"
            f"<DbtrAgt><FinInstnId><{bic}>{self._bic}</{bic}></FinInstnId></DbtrAgt><ChrgBr>SLEV</ChrgBr>\n"
        ).encode()

    def rows(self, debits: pa.RecordBatch) -> Rows:
        """The payments (SCHEMA, checked) as rows."""
        before, middle, account, after = self._row
        amounts = in_major(debits.column("amount_minor"))
        return joined([before, debits.column("reference"), middle, amounts, account, debits.column("account"), after])


def _row(currency: str, payee_name: str, purpose: str) -> list[bytes]:
    """What stands around the reference, the amount and the account of every payment."""
    texts = [
        "<CdtTrfTxInf><PmtId><EndToEndId>",
        f'</EndToEndId></PmtId><Amt><InstdAmt Ccy="{currency}">',
        f"</InstdAmt></Amt><Cdtr><Nm>{payee_name}</Nm></Cdtr><CdtrAcct><Id><IBAN>",
        f"</IBAN></Id></CdtrAcct><RmtInf><Ustrd>{purpose}</Ustrd></RmtInf></CdtTrfTxInf>\n",
    ]
    return [text.encode() for text in texts]
