"""One XSLT over a piece of a message: what a reader asks for, as columns of text, faster than walking elements."""

from __future__ import annotations

import io
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.csv
from lxml import etree
from numpy.typing import NDArray

_SHEET = """<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:c={namespace}
    xmlns:found="{found}">
<xsl:output method="text" encoding="UTF-8"/>
{templates}<xsl:template match="*|text()"/>
</xsl:stylesheet>"""
_TEMPLATE = '<xsl:template match="{match}">{body}</xsl:template>\n'
_TEXT = "<xsl:text>{}</xsl:text>"
_VALUE = '<xsl:value-of select="{}"/>'
_NOWHERE = "urn:none"
_FOUND = f"urn:found:{secrets.token_hex(16)}"
FOUND_OPEN, FOUND_CLOSE = f'<found xmlns="{_FOUND}">'.encode(), b"</found>"
"""Around what templates found in records already (see `shapes`); no file can name it."""
_COLUMNS = {"key": pa.int16(), "text": pa.string(), "currency": pa.string()}


class Field(NamedTuple):
    """A column of text: of the elements that match a pattern (names with `c:` before them), a value of each.

    `value`: XPath 1.0, of one line; "" for nothing. `money`: the element has a currency. `deeper`: fields inside of it
    are looked for too.
    """

    match: str
    value: str = "normalize-space(.)"
    money: bool = False
    deeper: bool = False


def sheet(fields: Sequence[Field], root: str, through: str) -> str:
    """Templates that write a line for each match of `fields` below `root`; `through`: the elements between."""
    deeper = "<xsl:apply-templates/>"
    templates = [_TEMPLATE.format(match=through, body=deeper)]
    for key, field in enumerate(fields):
        value = _VALUE.format(field.value) if field.value else ""
        currency = f"{_TEXT.format('&#9;')}{_VALUE.format('@Ccy')}{_TEXT.format('&#10;')}"
        end = currency if field.money else _TEXT.format("&#9;&#10;")
        body = _TEXT.format(f"{key}&#9;") + value + end + (deeper if field.deeper else "")
        templates.append(_TEMPLATE.format(match=field.match, body=body))
    templates.append(_TEMPLATE.format(match="found:found", body=_VALUE.format(".")))
    templates.append(_TEMPLATE.format(match="/", body=f'<xsl:apply-templates select="{root}|*/found:found"/>'))
    # Of several that match, the last is tried first: what is most frequent comes first in `fields`.
    return "".join(reversed(templates))


class Found(NamedTuple):
    """The matches in document order, m of them: keys int16[m] into the fields, text and currency string[m]."""

    keys: NDArray[np.int16]
    texts: pa.Array
    currencies: pa.Array

    def column(self, key: int, rows: NDArray[np.int64], length: int, *, currency: bool = False) -> pa.Array:
        """string[length]: the text (or the currency) of each match of `key`, in the row that `rows` int64[m] says."""
        at = np.flatnonzero(self.keys == key)
        where = np.full(length, -1)
        where[rows[at]] = at
        return (self.currencies if currency else self.texts).take(pa.array(where, mask=where < 0))


def matches(element: etree._Element, templates: str) -> bytes:
    """What the templates (of `sheet`) find in `element`, as text to be joined with that of what follows."""
    return bytes(_compiled(templates, etree.QName(element).namespace)(element))


def found_in(lines: bytes) -> Found:
    """What `matches` found, in columns; null where a text is empty."""
    if not lines:
        empty = pa.array([], pa.string())
        return Found(np.zeros(0, np.int16), empty, empty)
    table = pyarrow.csv.read_csv(
        io.BytesIO(lines),
        pyarrow.csv.ReadOptions(use_threads=False, column_names=list(_COLUMNS), block_size=len(lines) + 1),
        pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False, ignore_empty_lines=False),
        pyarrow.csv.ConvertOptions(column_types=_COLUMNS, strings_can_be_null=True, null_values=[""]),
    ).combine_chunks()
    key, texts, currencies = (table[name].chunk(0) for name in _COLUMNS)
    return Found(key.to_numpy(), texts, currencies)


@lru_cache(maxsize=32)
def _compiled(templates: str, namespace: str | None) -> etree.XSLT:
    # Elements in no namespace have names without a prefix.
    named = templates if namespace else templates.replace("c:", "")
    source = _SHEET.format(namespace=quoteattr(namespace or _NOWHERE), found=_FOUND, templates=named)
    return etree.XSLT(etree.fromstring(source), access_control=etree.XSLTAccessControl.DENY_ALL)


def text_at(element: etree._Element, *paths: str) -> str:
    """The text at the first of the paths where any stands."""
    for path in paths:
        found = element.findtext("/".join(f"{{*}}{name}" for name in path.split("/")))
        if found and found.strip():
            return str(found).strip()
    return ""
