"""The last net of the command line: what no command expects ends in a sentence, what is our fault in a traceback."""

from __future__ import annotations

import sys

import asyncpg
import pytest
from redis.exceptions import ConnectionError as RedisGone
from sqlalchemy.exc import OperationalError

from engine.cli import main as face
from engine.errors import FentanError


def ended(monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> int | str | None:
    def fail(_: str) -> None:
        raise raised

    monkeypatch.setattr(sys, "argv", ["fentan", "run"])
    monkeypatch.setattr(face, "_add", fail)
    with pytest.raises(SystemExit) as end:
        face.main()
    return end.value.code


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (FentanError("no such run"), "fentan: no such run\n"),
        (
            OperationalError("SELECT 1", {}, Exception("terminating connection\nDETAIL: a row")),
            "fentan: the database went away or refused: terminating connection\n",
        ),
        (
            asyncpg.ConnectionDoesNotExistError("lost in the middle of a COPY"),
            "fentan: the database went away or refused: lost in the middle of a COPY\n",
        ),
        (asyncpg.InterfaceError("closed"), "fentan: the database went away or refused: closed\n"),
        (RedisGone("reset by peer"), "fentan: the doorbell went away or refused: reset by peer\n"),
        (PermissionError(13, "Permission denied", "report.json"), "[Errno 13] Permission denied: 'report.json'\n"),
        (TimeoutError(), "fentan: TimeoutError\n"),
        (
            OverflowError("date value out of range"),
            "fentan: what is asked leads to a day after the year 9999; correct the dates given\n",
        ),
    ],
)
def test_what_goes_wrong_outside_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: Exception, said: str
) -> None:
    assert ended(monkeypatch, raised) == 1
    assert capsys.readouterr().err.endswith(said)


def test_an_interrupt_while_a_command_is_loaded_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for fault in (ZeroDivisionError(), OverflowError("Python int too large to convert to C long")):
        with pytest.raises(type(fault)):
            ended(monkeypatch, fault)
