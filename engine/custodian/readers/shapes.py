"""Records that a machine wrote alike: one of a shape is read as XML, the others by a pattern of its bytes.

A bank's entries differ in a few texts and in nothing else. The markup of one that was read as XML becomes a pattern,
and what the reader's templates found in it the replacement: a record that is the same byte for byte, texts apart, holds
what XML would find in it, at several times the speed. Whatever has no known shape is read as XML.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from xml.sax.saxutils import escape

from lxml import etree

from engine.custodian.readers.rows import FOUND_CLOSE, FOUND_OPEN, matches

Around = tuple[bytes, bytes]
"""The tags that open and that close what is around the records."""

Parse = Callable[[bytes], etree._Element]  # noqa: SLF001 - the only name of its type

_RECORD_BYTES_MAX = 8 << 10
"""A longer record is seldom like another."""

_LEARNED_MAX = 32
"""How many shapes are looked for in one file; beyond it, its records are not alike."""

_WORTH = 100
"""A shape of fewer than one in so many records is forgotten: looking for it costs more than it saves."""

_WORD = rb"[^<>&\x00- ]{1,4096}+"
_WORDS = _WORD + rb"(?: " + _WORD + rb"){0,255}+"
_ANY = rb"[^<>&\x00- ][^<>&\x00-\x1f]{0,4095}+"
_TOKENS = re.compile(rb"(<[^<>]*>)")
_PLACE = re.compile(rb"\x7f(\d+)\x7f")
_DECIDES = b"CdtDbtInd>"
"""The element whose text templates decide by: it is of the shape."""


class _Shape(NamedTuple):
    """`pattern` has a group for each text that is told; `told` is what is found, cut at those texts; `texts` which."""

    pattern: re.Pattern[bytes]
    told: list[bytes]
    texts: list[int]

    def replaced(self, piece: bytes) -> tuple[bytes, int]:
        """The piece, its records of this shape replaced by what is found in them, and how many they were."""
        # Slices of lists, for that is the only loop over texts without a step of the interpreter for each.
        parts = self.pattern.split(piece)
        width = self.pattern.groups + 1
        times = len(parts) // width
        if not times:
            return piece, 0
        step = 2 * len(self.told)
        written = [b""] * (step * times + 1)
        written[::step] = parts[::width]
        for place, told in enumerate(self.told):
            written[2 * place + 1 :: step] = [told] * times
        for place, text in enumerate(self.texts, 1):
            written[2 * place :: step] = parts[text::width]
        return b"".join(written), times


class Shapes:
    """The shapes of one file's elements `record`, as `templates` (of `rows.sheet`) read them."""

    def __init__(self, record: str, templates: str) -> None:
        self._record, self._templates = record.encode(), templates
        self._around: Around = (b"", b"")
        self._begin = self._end = self._between = b""
        self._shapes: list[_Shape] = []
        self._left = _LEARNED_MAX

    def shortened(self, piece: bytes, around: Around) -> bytes:
        """A plain piece, with what the templates find in place of each record of a known shape."""
        if around != self._around or not self._shapes:
            return piece
        short, found = piece, []
        for shape in self._shapes:
            short, times = shape.replaced(short)
            found.append(times)
        worth = max(sum(found) // _WORTH, 1)
        self._shapes = [shape for shape, times in zip(self._shapes, found, strict=True) if times >= worth]
        short = short.replace(FOUND_CLOSE + self._between + FOUND_OPEN, b"")
        # Where names come to mean something else, only XML tells what is what.
        return short if short.count(b"xmlns") == short.count(FOUND_OPEN) else piece

    def learn(self, piece: bytes, around: Around, parse: Parse) -> None:
        """Take the shape of the last record that `shortened` left in a well-formed piece, if there is one."""
        if not around[0]:
            return
        if around != self._around:
            self._shapes.clear()
            name = around[1].partition(b">")[0].removeprefix(b"</").rpartition(b":")
            tag = name[0] + name[1] + self._record
            self._begin, self._end, self._around = b"<" + tag + b">", b"</" + tag + b">", around
        start = piece.rfind(self._begin) if self._left else -1
        if start < 0:
            return
        end = piece.find(self._end, start) + len(self._end)
        if not start < end <= start + _RECORD_BYTES_MAX:
            return
        self._left -= 1
        if shape := self._shape(piece[start:end], parse):
            self._shapes.append(shape)
            self._between = piece[piece.rfind(b">", 0, start) + 1 : start]

    def _shape(self, record: bytes, parse: Parse) -> _Shape | None:
        """The shape of a record; None where only XML can tell its texts."""
        tokens = _TOKENS.split(record)
        patterns = [re.escape(token) for token in tokens]
        places = [at for at in range(2, len(tokens), 2) if tokens[at].strip() and not tokens[at - 1].endswith(_DECIDES)]
        texts = {at: tokens[at] for at in places}
        if b"\x7f" in record or not all(re.fullmatch(_ANY, text) for text in texts.values()):
            return None
        for at in places:
            tokens[at], patterns[at] = b"\x7f%d\x7f" % at, _ANY
        try:
            root = parse(self._around[0] + b"".join(tokens) + self._around[1])
        except etree.XMLSyntaxError:  # what looked like a record held another
            return None
        parent = next(root.iter(f"{{*}}{self._record.decode()}")).getparent()
        found = escape(matches(parent, self._templates).decode()).encode() if parent is not None else b""
        wanted = sorted({int(place) for place in _PLACE.findall(found)})
        for at in wanted:
            patterns[at] = b"(" + (_WORDS if b" " in texts[at] else _WORD) + b")"
        if not found or not all(re.fullmatch(patterns[at], texts[at]) for at in wanted):
            return None
        groups = {at: group for group, at in enumerate(wanted, 1)}
        told = _PLACE.split(FOUND_OPEN + found + FOUND_CLOSE)
        return _Shape(re.compile(b"".join(patterns)), told[::2], [groups[int(at)] for at in told[1::2]])


def plain(piece: bytes, encoding: str) -> bool:
    """Whether in a piece what looks like a record is one, and bytes are text."""
    # Single bytes are found ten times as fast, and there are few.
    if any(sign in piece and marked in piece for sign, marked in ((b"!", b"<!"), (b"?", b"<?"))):
        return False
    if piece.isascii():
        return True
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    # Of what begins with EF BF, XML forbids some.
    return encoding == "UTF-8" and not (b"\xef" in piece and b"\xef\xbf" in piece)
