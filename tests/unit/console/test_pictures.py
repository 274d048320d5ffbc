"""The guide to the console: every page has its pictures, each is shown, and none is left that nobody shows."""

from __future__ import annotations

import re

from tests.screenshots.pictures import FOLDER, GUIDE, SCHEMES, pictures

BYTES_MAX = 6 * 2**20
"""Of all of them: they are kept with the sources."""


def test_every_page_has_its_pictures() -> None:
    kept = {file.name for file in FOLDER.iterdir()}
    wanted = {picture.file for picture in pictures()}
    assert sorted(wanted - kept) == [], "make screenshots, and look at them"
    assert sorted(kept - wanted) == []
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < BYTES_MAX


def test_the_guide_shows_each() -> None:
    shown = re.findall(r'"screenshots/([^"]+)"', GUIDE.read_text("utf-8"))
    assert sorted(shown) == sorted(picture.file for picture in pictures())


def test_a_picture_in_the_dark_is_of_the_same() -> None:
    light, dark = SCHEMES
    text = GUIDE.read_text("utf-8")
    found = re.findall(r'srcset="screenshots/([^"]+)"[^>]*><img alt="[^"]{10,}" src="screenshots/([^"]+)"', text)
    assert [(each, other) for each, other in found if each != other.replace(f".{light}.", f".{dark}.")] == []
    assert len(found) == text.count("<picture>")
