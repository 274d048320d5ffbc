"""What a custodian remembers between two calls, in a folder beside its statements.

A day is prepared under passing names, then the diary is written, then the statements appear: killed anywhere and called
again, each day is played once.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

from pydantic import ValidationError

from engine.errors import InvalidInput
from engine.plans.fields import Part
from engine.plans.wrong_keys import lines_of

FOLDER = ".custodian"
_FILE = "diary.json"


class Remembered(Part):
    """Who plays here, and how far it came.

    `through`: the last day that is over. `taken`: the files it has played, by name. `waiting`: files of lines under
    way, whose names begin with their day. `staged`: the statements of the last day.
    """

    custodian: str
    seed: int
    formats: tuple[str, ...]
    closing_minor: int = 0
    sequence: int = 0
    through: date | None = None
    taken: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    staged: tuple[str, ...] = ()

    def first_open(self, day: date) -> date:
        """The day itself, or the first after it that is not over."""
        return day if self.through is None else max(day, self.through + timedelta(days=1))

    def waiting_on(self, day: date) -> list[str]:
        """The files of lines for a day, in the order in which they are booked."""
        return sorted(name for name in self.waiting if name.startswith(f"{day}"))


class Diary:
    """The diary in the folder of statements `sent`. Raises InvalidInput where another custodian plays there."""

    def __init__(self, sent: Path, begins: Remembered) -> None:
        self.folder = sent / FOLDER
        self._sent = sent
        self.says = self._read(begins)
        self.published = self._publish()
        self._tidy()

    def truth_of(self, sequence: int) -> Path:
        """Where what was planted on a day is kept."""
        return self.folder / f"truth-{sequence:04}.csv"

    def write(self, says: Remembered) -> list[Path]:
        """Remember this instead; the statements that are published by it."""
        part = self.folder / f"{_FILE}.part"
        part.write_text(says.model_dump_json(indent=1) + "\n", "utf-8")
        part.replace(self.folder / _FILE)
        dropped = set(self.says.waiting) - set(says.waiting)
        self.says = says
        for name in dropped:
            (self.folder / name).unlink()
        return self._publish()

    def _read(self, begins: Remembered) -> Remembered:
        path = self.folder / _FILE
        if not path.exists():
            return begins
        try:
            says = Remembered.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InvalidInput("\n".join(f"{path.name}: {line}" for line in lines_of(error, Remembered))) from None
        for name in ("custodian", "seed", "formats"):
            was, now = getattr(says, name), getattr(begins, name)
            if was != now:
                raise InvalidInput(
                    f"--out {self._sent.name}: a custodian with {name} {was} plays there; go on with that, or give"
                    f" another folder for {now}"
                )
        return says

    def _publish(self) -> list[Path]:
        """Give the last day's statements their names; those that had not."""
        named = []
        for name in self.says.staged:
            if (self.folder / name).exists():
                (self.folder / name).replace(self._sent / name)
                named.append(self._sent / name)
        return named

    def _tidy(self) -> None:
        """Drop what a call that was killed left behind."""
        kept = {_FILE, _LOCK, *self.says.waiting}
        kept |= {self.truth_of(number).name for number in range(1, self.says.sequence + 1)}
        for path in self.folder.iterdir():
            if path.name not in kept:
                path.unlink()


_LOCK = "lock"


@contextmanager
def alone_in(sent: Path) -> Iterator[None]:
    """One process at a time plays in a folder. Raises InvalidInput while another does."""
    folder = sent / FOLDER
    folder.mkdir(exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(f"--out {sent.name}: another process plays there; wait until it ends") from None
        yield
