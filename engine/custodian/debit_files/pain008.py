"""ISO 20022 customer direct debits, pain.008.001.08 and .02: one `PmtInf` a file.

Written as text, not by a builder of trees: what varies between the debits is letters and digits (batch.check), what
varies between files is escaped once. The tests hold the files against the ISO schemas and another writer.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

import pyarrow as pa

from engine.custodian.debit_files.batch import Batch
from engine.custodian.debit_files.rows import Rows, in_major, joined
from engine.custodian.profile import AccountNumbers, BookingMode, Pain008Debits, Profile
from engine.errors import InvalidInput
from engine.money import to_major


class Pain008:
    """The form of a pain.008 file; see `files.Form`. Raises InvalidInput without IBAN, creditor id or BIC."""

    suffix = ".xml"
    foot = b"</PmtInf></CstmrDrctDbtInitn></Document>\n"

    def __init__(self, profile: Profile, debits: Pain008Debits, numbers: AccountNumbers, batch: Batch) -> None:
        if not numbers.creditor_id or not profile.account.bic:
            raise InvalidInput(f"{profile.code}: {debits.format} needs the creditor's id and the bank's BIC")
        check_iban(profile, numbers, debits.format)
        self._version = debits.format
        self._instrument = debits.instrument
        self._booked_as_one = profile.booking is not BookingMode.PER_DEBIT
        self._holder = escape(profile.account.holder)
        self._bic = profile.account.bic
        self._numbers = numbers
        self._batch = batch
        self._row = _row(profile.currency, escape(debits.payer_name), escape(debits.purpose))

    def head(self, reference: str, count: int, amount_minor: int) -> bytes:
        """Up to the first debit of a file of so many with this sum; the file's reference names message and batch."""
        totals = f"<NbOfTxs>{count}</NbOfTxs><CtrlSum>{to_major(amount_minor)}</CtrlSum>"
        bic = "BIC" if self._version.endswith(".02") else "BICFI"
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{self._version}"><CstmrDrctDbtInitn>\n'
            f"<GrpHdr><MsgId>{reference}</MsgId>"
            f"<CreDtTm>{self._batch.created_at.isoformat(timespec='seconds')}</CreDtTm>{totals}"
            f"<InitgPty><Nm>{self._holder}</Nm></InitgPty></GrpHdr>\n"
            f"<PmtInf><PmtInfId>{reference}</PmtInfId><PmtMtd>DD</PmtMtd>"
            f"<BtchBookg>{str(self._booked_as_one).lower()}</BtchBookg>{totals}"
            f"<PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl><LclInstrm><Cd>{self._instrument}</Cd></LclInstrm>"
            f"<SeqTp>{self._batch.sequence}</SeqTp></PmtTpInf>"
            f"<ReqdColltnDt>{self._batch.debit_on.isoformat()}</ReqdColltnDt>"
            f"<Cdtr><Nm>{self._holder}</Nm></Cdtr>"
            f"<CdtrAcct><Id><IBAN>{self._numbers.number}</IBAN></Id></CdtrAcct>"
            f"<CdtrAgt><FinInstnId><{bic}>{self._bic}</{bic}></FinInstnId></CdtrAgt><ChrgBr>SLEV</ChrgBr>"
            f"<CdtrSchmeId><Id><PrvtId><Othr><Id>{self._numbers.creditor_id}</Id>"
            "<SchmeNm><Prtry>SEPA</Prtry></SchmeNm></Othr></PrvtId></Id></CdtrSchmeId>\n"
        ).encode()

    def rows(self, debits: pa.RecordBatch) -> Rows:
        """The debits (SCHEMA, checked) as rows."""
        before, middle, mandate, signed, account, after = self._row
        return joined(
            [
                before,
                debits.column("reference"),
                middle,
                in_major(debits.column("amount_minor")),
                mandate,
                debits.column("mandate_id"),
                signed,
                debits.column("signed_on").cast(pa.string()),
                account,
                debits.column("account"),
                after,
            ]
        )


def check_iban(profile: Profile, numbers: AccountNumbers, version: str) -> None:
    """Raises InvalidInput unless the number of the plan's account is an IBAN."""
    if not _IBAN.fullmatch(numbers.number):
        raise InvalidInput(f"{profile.account.number_from} is no IBAN; {version} needs one, without spaces")


_IBAN = re.compile("[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}")

_NO_AGENT = "<DbtrAgt><FinInstnId><Othr><Id>NOTPROVIDED</Id></Othr></FinInstnId></DbtrAgt>"
"""The payer's bank follows from the IBAN."""


def _row(currency: str, payer_name: str, purpose: str) -> list[bytes]:
    """What stands around the reference, amount, mandate, its day and the account of every debit."""
    texts = [
        "<DrctDbtTxInf><PmtId><EndToEndId>",
        f'</EndToEndId></PmtId><InstdAmt Ccy="{currency}">',
        "</InstdAmt><DrctDbtTx><MndtRltdInf><MndtId>",
        "</MndtId><DtOfSgntr>",
        "</DtOfSgntr></MndtRltdInf></DrctDbtTx>"
        + _NO_AGENT
        + f"<Dbtr><Nm>{payer_name}</Nm></Dbtr><DbtrAcct><Id><IBAN>",
        f"</IBAN></Id></DbtrAcct><RmtInf><Ustrd>{purpose}</Ustrd></RmtInf></DrctDbtTxInf>\n",
    ]
    return [text.encode() for text in texts]
