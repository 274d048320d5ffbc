"""Which pictures there are: of every page in light and dark, of some pages more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.pages import OPENED

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "screenshots"
GUIDE = DOCS / "console.md"

SCHEMES = ("light", "dark")


@dataclass(frozen=True)
class Picture:
    """A picture of a page. `also`: what tells it from the usual one; `world`: what of the world it shows, by name."""

    path: str
    scheme: str = "light"
    also: str = ""
    language: str = "en"
    is_narrow: bool = False

    @property
    def file(self) -> str:
        """Its name, made from the path."""
        words = [word.strip("{}").removesuffix("_id").replace("_", "-") for word in self.path.strip("/").split("/")]
        about = [self.also, "narrow" if self.is_narrow else "", "zh" if self.language == "zh" else "", self.scheme]
        return ".".join(["-".join(words) or "overview", *filter(None, about), "webp"])


MORE: Mapping[str, str] = {
    "posting": "/runs/{run_id}",
    "sealed": "/runs/{run_id}",
    "verified": "/share/mine",
}
"""The same page about something else, by what it shows."""

NARROW = ("/", "/runs/{run_id}", "/finance/breaks", "/public", "/share/mine")
CHINESE = (
    "/",
    "/runs/{run_id}",
    "/claims",
    "/finance",
    "/finance/breaks/{break_id}",
    "/ops",
    "/public/{plan}",
    "/share",
)
"""The most telling ones on a small screen, and in Chinese."""


def pictures() -> Iterator[Picture]:
    """All of them."""
    for scheme in SCHEMES:
        for path in OPENED:
            yield Picture(path, scheme)
        for also, path in MORE.items():
            yield Picture(path, scheme, also)
    for path in NARROW:
        yield Picture(path, is_narrow=True)
    for path in CHINESE:
        yield Picture(path, language="zh")
