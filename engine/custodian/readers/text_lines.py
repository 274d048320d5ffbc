"""Text files a line at a time, wherever their bytes are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.errors import InvalidInput

LINE_BYTES_MAX = 64 << 10
"""A longer line is no line of a statement."""


def text_lines(blocks: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """Each line's number from 1 and its bytes without the line's end. Raises InvalidInput over a line without end."""
    number, rest = 0, b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            number += 1
            yield number, _checked(line, number, name)
        _checked(rest, number + 1, name)
    if rest:
        yield number + 1, _checked(rest, number + 1, name)


def _checked(line: bytes, number: int, name: str) -> bytes:
    if len(line) > LINE_BYTES_MAX:
        raise InvalidInput(f"{name}: line {number}: is longer than {LINE_BYTES_MAX >> 10} KiB")
    return line.removesuffix(b"\r")
