"""The text of one place of a statement file, as the custodian wrote it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from engine.custodian.readers.source import blocks
from engine.errors import InvalidInput

_ENCODINGS = ("utf-8", "gb18030")
_PLACE = re.compile(r"(line|entry|transaction|payment) (\d+)")
_RECORDS = {"entry": rb"Ntry", "transaction": rb"TxInfAndSts|TxInf", "payment": rb"OrgnlPmtInfAndSts"}
_STATEMENT = rb"<(?:[\w.-]+:)?(?:Stmt|Rpt|Ntfctn)[\s>]"
_RECORD_BYTES_MAX = 16 << 20
_BOOKING_LINES_MAX = 100


class Raw(NamedTuple):
    """Bytes of a file. `offset`: where they begin, counted from 0; in what is packed, of what was in it."""

    offset: int
    content: bytes

    @property
    def text(self) -> str:
        """The bytes as the text they are."""
        for encoding in _ENCODINGS:
            try:
                return self.content.decode(encoding).strip("\r\n\ufeff")
            except UnicodeDecodeError:
                continue
        return self.content.decode("latin-1")


def raw_text(path: Path, number: int, place: str) -> str:
    """The text at a place ("line 17", "entry 3 detail 2") of a file's statement `number`, from 1.

    Raises InvalidInput for a place that is not in it.
    """
    return raw_bytes(path, number, place).text


def raw_bytes(path: Path, number: int, place: str) -> Raw:
    """What stands in a file at a place of its statement `number`, as `raw_text`. Raises InvalidInput likewise."""
    found = _raw(path, number, [place])
    if not found:
        what, count = _counted(place)
        raise InvalidInput(f"the kept file has no {what} {count}")
    return found[place]


def raw_texts(path: Path, number: int, places: Collection[str]) -> dict[str, str]:
    """The text at each of these places, read once; those that are not in the file are left out."""
    return {place: raw.text for place, raw in _raw(path, number, places).items()}


def _raw(path: Path, number: int, places: Collection[str]) -> dict[str, Raw]:
    wanted: dict[str, dict[int, list[str]]] = {}
    for place in places:
        what, count = _counted(place)
        wanted.setdefault(what, {}).setdefault(count, []).append(place)
    found: dict[str, Raw] = {}
    for what, by_count in wanted.items():
        texts = _bookings(_lines(path)) if what == "line" else _records(path, number, _RECORDS[what])
        last = max(by_count)
        for at, raw in enumerate(texts, 1):
            found |= dict.fromkeys(by_count.get(at, ()), raw)
            if at == last:
                break
    return found


def _counted(place: str) -> tuple[str, int]:
    """("entry", 3) of "entry 3 detail 2". Raises InvalidInput for what is no place in a file."""
    found = _PLACE.match(place)
    if found is None:
        raise InvalidInput(f"{place} is about the whole statement, and no place in it")
    return found[1], int(found[2])


def _lines(path: Path) -> Iterator[Raw]:
    rest, offset = b"", 0
    for block in blocks(path):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield Raw(offset, line)
            offset += len(line) + 1
        if len(rest) > _RECORD_BYTES_MAX:
            raise InvalidInput(f"a line of the kept file is longer than {_RECORD_BYTES_MAX >> 20} MiB")
    yield Raw(offset, rest)


def _bookings(lines: Iterator[Raw]) -> Iterator[Raw]:
    """The same, but that in an MT940 the line of a booking (:61:) holds all that is said of it (:86:)."""
    held: list[Raw] = []
    for line in lines:
        said = line.content
        is_next = said.startswith((b":", b"-")) and not said.startswith(b":86:")
        if held and (is_next or len(held) > _BOOKING_LINES_MAX):
            yield from _whole(held)
            held = []
        if held or said.startswith(b":61:"):
            held.append(line)
        else:
            yield line
    if held:
        yield from _whole(held)


def _whole(held: list[Raw]) -> Iterator[Raw]:
    """A booking with all its lines in place of its first, and the others."""
    yield Raw(held[0].offset, b"\n".join(line.content for line in held))
    yield from held[1:]


def _records(path: Path, number: int, tags: bytes) -> Iterator[Raw]:
    """The elements of these names in one statement of a message (in all of it, where it is no list of statements)."""
    record = rb"<(?:[\w.-]+:)?(?:%b)[\s>].*?</(?:[\w.-]+:)?(?:%b)\s*>" % (tags, tags)
    pieces = re.compile(rb"(?P<statement>%b)|%b" % (_STATEMENT, record), re.DOTALL)
    rest, at, offset = b"", 0, 0
    for block in blocks(path):
        rest += block
        end = 0
        for piece in pieces.finditer(rest):
            end = piece.end()
            if piece["statement"]:
                at += 1
            elif at in (0, number):
                yield Raw(offset + piece.start(), piece[0])
        rest, offset = rest[end:], offset + end
        if len(rest) > _RECORD_BYTES_MAX:
            raise InvalidInput(f"an element of the kept file is longer than {_RECORD_BYTES_MAX >> 20} MiB")
