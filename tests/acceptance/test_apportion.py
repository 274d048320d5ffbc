"""`fentan apportion`, as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

WORLD: dict[str, Any] = {
    "name": "three share 100",
    "cases": [{"aid": 100, "gate": 1}],
    "members": [{}, {"allowance": 10}, {"ended_on": 1}],
}
ANSWER = {
    "name": "three share 100",
    "charges": [50, 10, 0],
    "sponsor": 40,
    "carry_out": 0,
    "aids": [100],
    "fees": [0],
    "waived_total": 0,
    "pointer": {},
}


def fentan(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli.main", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def test_a_file_and_standard_input_give_the_same_answers(tmp_path: Path) -> None:
    file = tmp_path / "worlds.json"
    file.write_text(json.dumps([WORLD, WORLD]), "utf-8")
    from_file, from_stdin = fentan("apportion", str(file)), fentan("apportion", "-", stdin=file.read_text("utf-8"))
    assert (from_file.returncode, from_stdin.returncode) == (0, 0), from_file.stderr + from_stdin.stderr
    assert json.loads(from_file.stdout) == json.loads(from_stdin.stdout) == [ANSWER, ANSWER]


def test_groups_are_answered_by_tier() -> None:
    world = {"name": "g", "cases": [{"aid": 10**15, "gate": 1, "cap": 7}], "groups": [{"seats": 10**12}]}
    run = fentan("apportion", "-", stdin=json.dumps([world]))
    assert json.loads(run.stdout) == [
        {
            "name": "g",
            "share_by_tier": [7],
            "charges_total": 7 * 10**12,
            "sponsor": 10**15 - 7 * 10**12,
            "carry_out": 0,
            "fees_total": 0,
        }
    ]


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ("[", "standard input: not JSON"),
        ("[" * 100_000, "standard input: nested too deeply"),
        ("{}", "expected a JSON list of worlds"),
        (json.dumps([WORLD | {"rules": {"fee": "1e5000"}}]), "world 0 (three share 100): rules.fee: write the rate as"),
        (json.dumps([WORLD, WORLD | {"carry_in": 0.5}]), "world 1 (three share 100): carry_in"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(stdin: str, said: str) -> None:
    run = fentan("apportion", "-", stdin=stdin)
    assert run.returncode > 0
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_a_missing_file_is_named() -> None:
    run = fentan("apportion", "no-such-worlds.json")
    assert run.returncode != 0
    assert "no-such-worlds.json: " in run.stderr
    assert "Traceback" not in run.stderr
