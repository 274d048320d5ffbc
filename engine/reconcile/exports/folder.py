"""An export as a folder: its files, and a manifest of what they hold, the same bytes for the same books."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput
from engine.reconcile.exports.formats import Written, write_csv, write_parquet, write_workbook
from engine.reconcile.exports.tables import Table

ROWS_MAX = 1_000_000
"""A table of more rows is written as Parquet, whatever was asked for: no spreadsheet opens it."""

MANIFEST, WORKBOOK = "manifest.json", "reconciliation.xlsx"


class Format(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    XLSX = "xlsx"
    PARQUET = "parquet"


async def export(
    tables: Sequence[Table], folder: Path, what: str, format_: Format, *, rows_max: int = ROWS_MAX
) -> dict[str, Any]:
    """Write tables into a folder; the manifest, which stands there too, written last.

    `what`: what they are about, in words. An earlier export in the folder is replaced once this one is whole. Raises
    InvalidInput for a folder that holds anything else.
    """
    earlier = _earlier(folder)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as making:
        parts, made = Path(making) / "parts", Path(making) / "made"
        parts.mkdir()
        made.mkdir()
        written = [await write_parquet(table, parts / f"{table.name}.parquet") for table in tables]
        files = await asyncio.to_thread(_convert, written, made, format_, rows_max)
        manifest = await asyncio.to_thread(_manifest, what, format_, written, files, made)
        (made / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", "utf-8")
        (folder / MANIFEST).unlink(missing_ok=True)
        for name in earlier:
            (folder / name).unlink(missing_ok=True)
        # Last of all: a folder without a manifest is no whole export.
        for each in (*manifest["files"], {"file": MANIFEST}):
            (made / each["file"]).replace(folder / each["file"])
    return manifest


def _earlier(folder: Path) -> list[str]:
    """The files of the export that the folder holds; makes the folder where there is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {each.name for each in folder.iterdir()}
    except OSError as error:
        raise InvalidInput(f"--to {folder}: cannot be written to ({error.strerror}); name another folder") from None
    if not there:
        return []
    try:
        known = [each["file"] for each in json.loads((folder / MANIFEST).read_text("utf-8"))["files"]]
    except (OSError, ValueError, LookupError, TypeError):
        known = []
    if there - {MANIFEST, *known}:
        raise InvalidInput(f"--to {folder}: holds other files; name a new folder, or one with an earlier export only")
    return known


def _convert(written: Sequence[Written], made: Path, format_: Format, rows_max: int) -> dict[str, str]:
    """Write the files; the name of each table's."""
    files = {}
    sheets: list[Written | tuple[str, str]] = []
    for each in written:
        name = each.table.name
        if format_ is Format.PARQUET or each.rows > rows_max:
            files[name] = f"{name}.parquet"
            each.path.replace(made / files[name])
            sheets.append((each.table.title, f"{each.rows:,} rows are too many for a sheet: see {files[name]}"))
        elif format_ is Format.CSV:
            files[name] = f"{name}.csv"
            write_csv(each, made / files[name])
        else:
            files[name] = WORKBOOK
            sheets.append(each)
    if format_ is Format.XLSX:
        write_workbook(sheets, made / WORKBOOK)
    return files


def _manifest(
    what: str, format_: Format, written: Sequence[Written], files: dict[str, str], made: Path
) -> dict[str, Any]:
    return {
        "of": what,
        "format": format_.value,
        "tables": [
            {
                "table": each.table.name,
                "file": files[each.table.name],
                "rows": each.rows,
                "totals": {name: str(total) for name, total in each.totals.items()},
            }
            for each in written
        ],
        "files": [
            {"file": path.name, "bytes": path.stat().st_size, "sha256": _sha256(path)}
            for path in sorted(made.iterdir())
        ],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
