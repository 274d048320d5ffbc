"""Lines read again in a kept file: a part of one of its statements, what they refer to veiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.custodian.kept_lines import kept_lines
from engine.custodian.profile import load
from engine.custodian.raw_text import raw_text
from engine.errors import InvalidInput

PROFILE = load("generic-csv")

SWIFT = (
    ":20:A\n:25:6222\n:28C:1/1\n:60F:C190714CNY0,\n:61:1907150715C1,NTRFone//x\n:62F:C190715CNY1,\n-\n"
    ":20:B\n:25:6222\n:28C:2/1\n:60F:C190715CNY1,\n"
    ":61:1907160716C2,NTRFtwo//y\n:61:1907160716C3,NTRFthree//z\n:61:1907160716C4,NTRFfour//w\n:62F:C190716CNY10,\n-\n"
)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "kept"
    path.write_text(SWIFT, "utf-8")
    return path


@pytest.mark.parametrize(
    ("number", "after", "limit", "expected"),
    [
        (1, 0, 5, [(1, 1_00)]),
        (1, 1, 5, []),
        (2, 0, 5, [(1, 2_00), (2, 3_00), (3, 4_00)]),
        (2, 1, 1, [(2, 3_00)]),
        (2, 2, 5, [(3, 4_00)]),
        (3, 0, 5, []),
    ],
)
def test_a_part_of_one_statement(
    kept: Path, number: int, after: int, limit: int, expected: list[tuple[int, int]]
) -> None:
    found = kept_lines(kept, PROFILE, number, after=after, limit=limit)
    assert [(each["ordinal"], each["amount_minor"]) for each in found] == expected


def test_each_leads_to_its_text_and_names_nobody(kept: Path) -> None:
    found = kept_lines(kept, PROFILE, 2, after=0, limit=5)
    for line, word in zip(found, ("two", "three", "four"), strict=True):
        assert word in raw_text(kept, 2, line["place"])
        assert word not in str(line)
        assert str(line["reference"]).startswith("#")


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_text("nothing like a statement", "utf-8")
    with pytest.raises(InvalidInput):
        kept_lines(path, PROFILE, 1, limit=5)
