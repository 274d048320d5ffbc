"""A report's place is tried before the work: no bench of half an hour ends in a path that cannot be written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli import bench, report_file
from engine.errors import InvalidInput


def test_a_place_that_can_be_written_stays_as_it_was(tmp_path: Path) -> None:
    new, old = tmp_path / "made" / "new.json", tmp_path / "old.json"
    old.write_text("before", "utf-8")
    for path in (new, old, None):
        report_file.prepare(path)
    assert new.parent.is_dir()
    assert not new.exists()
    assert old.read_text("utf-8") == "before"


@pytest.mark.parametrize("name", ["folder", "file/report.json"], ids=["a folder", "below a file"])
def test_a_place_that_cannot_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=f"{name}: the report cannot be written there .*; name another --report"):
        report_file.prepare(tmp_path / name)


def test_a_bench_is_not_begun_where_its_report_cannot_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun() -> None:
        raise AssertionError("the bench began")

    monkeypatch.setattr("engine.cli.bench.start", begun)
    with pytest.raises(InvalidInput, match="the report cannot be written"):
        bench.bench(report=tmp_path)


def test_the_outcome_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("before" * 99, "utf-8")
    report_file.write(path, {"share": "0.03", "plan": "相互宝"})
    text = path.read_text("utf-8")
    assert json.loads(text) == {"share": "0.03", "plan": "相互宝"}
    assert "相互宝" in text
    assert text.endswith("}\n")
