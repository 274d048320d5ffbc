"""The text of one place of a statement file, as the custodian wrote it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from engine.custodian.readers.source import blocks
from engine.errors import InvalidInput

_ENCODINGS = ("utf-8", "gb18030")
_PLACE = re.compile(r"(line|entry|transaction|payment) (\d+)")
_RECORDS = {"entry": rb"Ntry", "transaction": rb"TxInfAndSts|TxInf", "payment": rb"OrgnlPmtInfAndSts"}
_STATEMENT = rb"<(?:[\w.-]+:)?(?:Stmt|Rpt|Ntfctn)[\s>]"
_RECORD_BYTES_MAX = 16 << 20
_BOOKING_LINES_MAX = 100


def raw_text(path: Path, number: int, place: str) -> str:
    """What stands in a file at a place ("line 17", "entry 3 detail 2") of its statement `number`, from 1.

    Raises InvalidInput for a place that is not in it.
    """
    found = raw_texts(path, number, [place])
    if not found:
        what, count = _counted(place)
        raise InvalidInput(f"the kept file has no {what} {count}")
    return found[place]


def raw_texts(path: Path, number: int, places: Collection[str]) -> dict[str, str]:
    """What stands at each of these places, read once; those that are not in the file are left out."""
    wanted: dict[str, dict[int, list[str]]] = {}
    for place in places:
        what, count = _counted(place)
        wanted.setdefault(what, {}).setdefault(count, []).append(place)
    found: dict[str, str] = {}
    for what, by_count in wanted.items():
        texts = _bookings(_lines(path)) if what == "line" else _records(path, number, _RECORDS[what])
        last = max(by_count)
        for at, text in enumerate(texts, 1):
            found |= {place: _decoded(text) for place in by_count.get(at, ())}
            if at == last:
                break
    return found


def _counted(place: str) -> tuple[str, int]:
    """("entry", 3) of "entry 3 detail 2". Raises InvalidInput for what is no place in a file."""
    found = _PLACE.match(place)
    if found is None:
        raise InvalidInput(f"{place} is about the whole statement, and no place in it")
    return found[1], int(found[2])


def _lines(path: Path) -> Iterator[bytes]:
    rest = b""
    for block in blocks(path):
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
        if len(rest) > _RECORD_BYTES_MAX:
            raise InvalidInput(f"a line of the kept file is longer than {_RECORD_BYTES_MAX >> 20} MiB")
    yield rest


def _bookings(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The same, but that in an MT940 the line of a booking (:61:) holds all that is said of it (:86:)."""
    held: list[bytes] = []
    for line in lines:
        is_next = line.startswith((b":", b"-")) and not line.startswith(b":86:")
        if held and (is_next or len(held) > _BOOKING_LINES_MAX):
            yield b"\n".join(held)
            yield from held[1:]
            held = []
        if held or line.startswith(b":61:"):
            held.append(line)
        else:
            yield line
    if held:
        yield b"\n".join(held)
        yield from held[1:]


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
