"""What commands that go through the API share: the table they stand in, and tables for eyes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table

T = TypeVar("T")

Asking = Callable[..., Awaitable[None]]
"""What a command does through the API, called with the client and the command's own options."""

console = Console(markup=False, highlight=False)


class Commands(dict[str, Asking]):
    """Commands by group and name, as `run plan`."""

    def asks(self, command: str) -> Callable[[Asking], Asking]:
        """Declare what a command does through the API."""

        def declared(asking: Asking) -> Asking:
            self[command] = asking
            return asking

        return declared


async def all_of(items: AsyncIterator[T], limit: int | None = None) -> list[T]:
    """The items of a list, up to so many."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == limit:
            break
    return found


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], right: Sequence[str] = ()) -> None:
    """A table for eyes: headings, and the field under each; None is an empty cell."""
    table = Table()
    for heading in columns:
        table.add_column(heading, justify="right" if heading in right else "left")
    for row in rows:
        cells = [row[name] for name in columns.values()]
        table.add_row(*("" if cell is None else f"{cell:,}" if type(cell) is int else str(cell) for cell in cells))
    console.print(table)


def show_facts(title: str, fields: Mapping[str, Any]) -> None:
    """One thing for eyes, a fact a line."""
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in fields.items():
        if value not in (None, [], {}):
            table.add_row(name.replace("_", " "), f"{len(value):,}" if isinstance(value, list) else str(value))
    console.print(table)
