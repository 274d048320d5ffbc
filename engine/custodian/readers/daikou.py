"""代扣 回盘: what became of a file of debits. A first line `total|sum`, then a row for each debit (BANK.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.ahead import ahead
from engine.custodian.layouts import DaikouLayout
from engine.custodian.readers import values
from engine.custodian.readers.delimited import BLOCKS_AHEAD, NOT_READ, ByteStream, row_batches, why
from engine.custodian.readers.laid_out import EACH_ITS_OWN, Taken
from engine.custodian.statement import Fault, Footing, Part, Statement
from engine.errors import InvalidInput
from engine.money import grouped

MESSAGE = "daikou"


def read(blocks: Iterable[bytes], name: str, layout: DaikouLayout, currency: str = "") -> Iterator[Part]:
    """The rows in `blocks` (bytes, cut anywhere) as lines, then the footing, which has no balances.

    The first line must state the totals of all debits, or of those that were paid: both are usual. Raises InvalidInput.
    """
    source = ByteStream(blocks)
    head = source.peek_line(0) or b""
    source.skip(len(head))
    stated = _cells(head, layout)
    places = [layout.totals.get(total, 0) for total in ("count", "amount")]
    count, amount = (stated[place - 1] if 0 < place <= len(stated) else "" for place in places)
    if not (count.isascii() and count.isdigit() and len(count) < 16):
        shown = values.shown(head.decode(layout.encoding, "replace").strip())
        raise InvalidInput(f"{name}: line 1: {shown} does not begin a 代扣 file; it states total{layout.separator}sum")
    taken = Taken(layout, currency=currency)
    first = source.peek_line(0)
    width = len(_cells(first, layout)) if first else 1
    if first and width < max(layout.fields.values()):
        raise InvalidInput(f"{name}: line 2: has {width} fields; the layout needs {max(layout.fields.values())}")

    kept = {number - 1 for number in layout.fields.values()}
    apart = {number - 1 for holds, number in layout.fields.items() if holds in EACH_ITS_OWN}
    batches = row_batches(source, width, kept, apart, layout.separator, layout.encoding, quotes=False)
    try:
        for batch, rows, torn in ahead(batches, BLOCKS_AHEAD):
            for each in torn:
                if each.text.strip():
                    message = f"has {each.cells} fields; the rows have {width}"
                    taken.problems.add(Fault.UNREADABLE, f"line {each.row + 1}", message)
            yield taken.take({holds: batch[number - 1] for holds, number in layout.fields.items()}, rows + 1)
    except NOT_READ as error:
        after = 1 + taken.lines
        raise InvalidInput(f"{name}: after line {after}: is not in {layout.encoding}: {why(error)}") from None
    _check_totals(taken, int(count), amount)
    statement = Statement(taken.account, taken.currency, "")
    yield Footing(statement, MESSAGE, taken.lines, taken.credits, taken.debits, problems=taken.problems.all())


def _check_totals(taken: Taken, count: int, amount: str) -> None:
    text = f"{amount[:-2] or '0'}.{amount[-2:].rjust(2, '0')}" if taken.layout.amounts == "minor" else amount
    minor = values.amount(text, "line 1", taken.problems, "the sum") if amount else None
    asked, paid = (taken.lines, taken.asked_minor), (taken.credits + taken.debits, taken.moved_minor)
    if count not in {asked[0], paid[0]}:
        message = f"states {count} debits; there are {asked[0]}, of which {paid[0]} were paid"
        taken.problems.add(Fault.TOTALS_BREAK, "line 1", message)
    if minor is not None and minor not in {asked[1], paid[1]}:
        message = f"states {grouped(minor)}; the debits come to {grouped(asked[1])}, those paid to {grouped(paid[1])}"
        taken.problems.add(Fault.TOTALS_BREAK, "line 1", message)


def _cells(line: bytes, layout: DaikouLayout) -> list[str]:
    text = line.decode(layout.encoding, "replace").strip("\r\n\ufeff")
    return [cell.strip(layout.strip) for cell in text.split(layout.separator)]
