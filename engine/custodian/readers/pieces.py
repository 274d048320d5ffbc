"""XML messages of any length, a piece at a time: cut after whole records, each piece parsed as a document of its own.

No document type, no entities, no network, no huge text; a piece that is not well-formed refuses the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lxml import etree

from engine.custodian.readers.shapes import Shapes, plain
from engine.errors import InvalidInput

PIECE_BYTES = 256 << 10
"""How much is parsed at a time: its tree stays in a core's cache."""

PIECE_BYTES_MAX = 64 << 20
"""A record longer than this is refused: it would be held in memory whole."""

HEAD_BYTES_MAX = 8 << 20
"""So is more than this before the first record."""

_ENCODINGS = {"UTF-8", "US-ASCII", "ISO-8859-1", "ISO-8859-15", "WINDOWS-1252", "GBK", "GB2312", "GB18030"}
"""In each of them the bytes of "<" and ">" are never part of another character, so bytes can be cut at tags."""

_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]+)""")
_DOCUMENT_TYPE = re.compile(rb"<![A-Za-z]")
_CLOSERS = {b"<!--": b"-->", b"<![CDATA[": b"]]>", b"<?": b"?>"}


class Piece(NamedTuple):
    """A part of a message as a document: whole records under the elements that hold them in the message.

    `continued`: the elements that hold its first records were opened in the piece before.
    """

    root: etree._Element
    continued: bool


def pieces(
    blocks: Iterable[bytes], record: str, templates: str, name: str, *, piece_bytes: int = PIECE_BYTES
) -> Iterator[Piece]:
    """The message in `blocks` (bytes, cut anywhere) in pieces that end after an element `record`.

    What `templates` (of `rows.sheet`) find in records may stand in their place. Raises InvalidInput, with
    the line, for what is not well-formed or holds what no statement needs.
    """
    cutter = _Cutter(record, templates, name)
    rest, enough = b"", piece_bytes
    for block in blocks:
        rest += block
        at = 0
        while len(rest) - at >= enough:
            piece = rest[at : at + enough]
            end = cutter.last_end(piece)
            if not end:
                # Twice as much each time, so that a record without end is not looked through again and again.
                enough *= 2
                continue
            yield cutter.parsed(piece[:end], whole=False)
            at += end
            enough = piece_bytes
        rest = rest[at:]
        most = PIECE_BYTES_MAX if cutter.record_end else HEAD_BYTES_MAX
        if len(rest) > most:
            raise InvalidInput(
                f"{name}: line {cutter.line}: more than {most >> 20} MiB without the end of a <{record}>; "
                "ask for entries with fewer details"
            )
    yield cutter.parsed(rest, whole=True)


class _Cutter:
    """Where the message stands: the open elements, and the line."""

    def __init__(self, record: str, templates: str, name: str) -> None:
        self.record, self.name = record, name
        self.shapes = Shapes(record, templates)
        self.line = 1
        self.encoding: str | None = None
        self.parser: etree.XMLParser | None = None
        self.head: etree.XMLPullParser | None = None
        self.fed = 0
        self.record_close = b""
        self.record_end: re.Pattern[bytes] | None = None
        self.depth = 0
        self.opened = b""
        self.closing = b""

    def last_end(self, rest: bytes) -> int:
        """The offset after the last record of `rest` that is sure to be one; 0 where there is none."""
        if self.record_end is None and not self._find_record(rest):
            return 0
        assert self.record_end is not None
        # Single bytes are found ten times as fast, and nearly always there are none.
        if (b"!" in rest and b"<!" in rest) or (b"?" in rest and b"<?" in rest):
            return self._careful_end(rest)
        found = rest.rfind(self.record_close)
        while found >= 0:
            if match := self.record_end.match(rest, found):
                return match.end()
            found = rest.rfind(self.record_close, 0, found)
        return 0

    def parsed(self, piece: bytes, *, whole: bool) -> Piece:
        """The bytes of `piece` as a document. `whole`: the message ends with it."""
        continued = bool(self.opened)
        self._refuse_document_type(piece)
        closing = b"" if whole else self.closing
        is_plain = continued and plain(piece, self._encoding(piece))
        short = self.shapes.shortened(piece, (self.opened, self.closing)) if is_plain else piece
        try:
            root = self._document(self.opened + short + closing)
        except (etree.XMLSyntaxError, ValueError):
            try:  # for its line
                root = self._document(self.opened + piece + closing)
            except (etree.XMLSyntaxError, ValueError) as error:
                raise self._malformed(error) from None
        if root is None:
            raise InvalidInput(f"{self.name}: line {self.line}: holds no element")
        self.line += piece.count(b"\n")
        if not whole:
            self.opened = self._open_elements(root)
            if is_plain:
                self.shapes.learn(short, (self.opened, self.closing), self._document)
        return Piece(root, continued)

    def _careful_end(self, rest: bytes) -> int:
        """As `last_end`, where comments and the like may hold what looks like the end of a record."""
        assert self.record_end is not None
        tokens = re.compile(rb"<!--|<!\[CDATA\[|<\?|" + self.record_end.pattern)
        end = at = 0
        while match := tokens.search(rest, at):
            closer = _CLOSERS.get(match[0])
            if closer is None:
                end = at = match.end()
                continue
            closed = rest.find(closer, match.end())
            if closed < 0:
                break
            at = closed + len(closer)
        return end

    def _find_record(self, rest: bytes) -> bool:
        """Read up to the first record, and note what is open around it."""
        self._refuse_document_type(rest)
        if self.head is None:
            if len(rest) < 200 and b"?>" not in rest:  # the declaration may not be whole
                return False
            self.head = etree.XMLPullParser(events=("start",), encoding=self._encoding(rest), **_HARDENED)
        try:
            if len(rest) > self.fed:
                self.head.feed(rest[self.fed :])
        except (etree.XMLSyntaxError, ValueError) as error:
            raise self._malformed(error) from None
        self.fed = max(self.fed, len(rest))
        for _, element in self.head.read_events():
            if etree.QName(element).localname == self.record:
                around = list(element.iterancestors())
                self.record_close = b"</" + _tag(element)
                self.record_end = re.compile(re.escape(self.record_close) + rb"\s*>")
                self.closing = b"".join(b"</" + _tag(each) + b">" for each in around)
                self.depth = len(around)
                self.head = None
                return True
        return False

    def _open_elements(self, root: etree._Element) -> bytes:
        """Start tags of what is open after the last record of a piece."""
        element, opened = root, b""
        for level in range(self.depth):
            element = element if level == 0 else element[-1]
            known = element.getparent().nsmap if level else {}
            names = {prefix: uri for prefix, uri in element.nsmap.items() if known.get(prefix) != uri}
            spaces = "".join(
                f' xmlns{":" + prefix if prefix else ""}="{_escaped(uri)}"' for prefix, uri in names.items()
            )
            opened += b"<" + _tag(element) + spaces.encode(self.encoding or "utf-8") + b">"
        return opened

    def _document(self, data: bytes) -> etree._Element:
        if self.parser is None:
            self.parser = etree.XMLParser(encoding=self._encoding(data), remove_blank_text=True, **_HARDENED)
        return etree.fromstring(data, self.parser)

    def _encoding(self, start: bytes) -> str:
        """The encoding that the message declares. Raises InvalidInput where bytes cannot be cut in it."""
        if self.encoding is None:
            if start[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in start[:4]:
                raise InvalidInput(f"{self.name}: line 1: is in UTF-16 or UTF-32; write it in UTF-8")
            declared = _DECLARATION.match(start.removeprefix(b"\xef\xbb\xbf"))
            encoding = declared[1].decode().upper() if declared else "UTF-8"
            if encoding not in _ENCODINGS:
                raise InvalidInput(f"{self.name}: line 1: declares the encoding {encoding}; write it in UTF-8")
            self.encoding = encoding
        return self.encoding

    def _refuse_document_type(self, piece: bytes) -> None:
        if b"!" in piece and (found := _DOCUMENT_TYPE.search(piece)):
            line = self.line + piece.count(b"\n", 0, found.start())
            raise InvalidInput(f"{self.name}: line {line}: has a document type or markup declaration; none is taken")

    def _malformed(self, error: Exception) -> InvalidInput:
        line = self.line + (getattr(error, "lineno", None) or 1) - 1
        said = re.sub(r", line \d+, column \d+.*", "", str(error), flags=re.DOTALL)
        said = re.sub(r" (?:line \d+ )?and ", " and ", said)
        return InvalidInput(f"{self.name}: line {line}: not well-formed XML: {said}")


_HARDENED = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "collect_ids": False,
    "remove_comments": True,
    "remove_pis": True,
}


def _tag(element: etree._Element) -> bytes:
    name = etree.QName(element).localname
    return (f"{element.prefix}:{name}" if element.prefix else name).encode()


def _escaped(uri: str) -> str:
    return uri.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
