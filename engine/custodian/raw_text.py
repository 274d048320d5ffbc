"""The text of one place of a statement file, as the custodian wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.custodian.readers.source import blocks
from engine.errors import InvalidInput

_ENCODINGS = ("utf-8", "gb18030")
_PLACE = re.compile(r"(line|entry|transaction|payment) (\d+)")
_RECORDS = {"entry": rb"Ntry", "transaction": rb"TxInfAndSts|TxInf", "payment": rb"OrgnlPmtInfAndSts"}
_STATEMENT = rb"<(?:[\w.-]+:)?(?:Stmt|Rpt|Ntfctn)[\s>]"
_RECORD_BYTES_MAX = 16 << 20


def raw_text(path: Path, number: int, place: str) -> str:
    """What stands in a file at a place ("line 17", "entry 3 detail 2") of its statement `number`, from 1.

    Raises InvalidInput for a place that is not in it.
    """
    found = _PLACE.match(place)
    if found is None:
        raise InvalidInput(f"{place} is about the whole statement, and no place in it")
    what, count = found[1], int(found[2])
    texts = _lines(path) if what == "line" else _records(path, number, _RECORDS[what])
    for at, text in enumerate(texts, 1):
        if at == count:
            return _decoded(text)
    raise InvalidInput(f"the kept file has no {what} {count}")


def _lines(path: Path) -> Iterator[bytes]:
    rest = b""
    for block in blocks(path):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
        if len(rest) > _RECORD_BYTES_MAX:
            raise InvalidInput(f"a line of the kept file is longer than {_RECORD_BYTES_MAX >> 20} MiB")
    yield rest


def _records(path: Path, number: int, tags: bytes) -> Iterator[bytes]:
    """The elements of these names in one statement of a message (in all of it, where it is no list of statements)."""
    record = rb"<(?:[\w.-]+:)?(?:%b)[\s>].*?</(?:[\w.-]+:)?(?:%b)\s*>" % (tags, tags)
    pieces = re.compile(rb"(?P<statement>%b)|%b" % (_STATEMENT, record), re.DOTALL)
    rest, at = b"", 0
    for block in blocks(path):
        rest += block
        end = 0
        for piece in pieces.finditer(rest):
            end = piece.end()
            if piece["statement"]:
                at += 1
            elif at in (0, number):
                yield piece[0]
        rest = rest[end:]
        if len(rest) > _RECORD_BYTES_MAX:
            raise InvalidInput(f"an element of the kept file is longer than {_RECORD_BYTES_MAX >> 20} MiB")


def _decoded(text: bytes) -> str:
    for encoding in _ENCODINGS:
        try:
            return text.decode(encoding).strip("\r\n\ufeff")
        except UnicodeDecodeError:
            continue
    return text.decode("latin-1")
