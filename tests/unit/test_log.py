"""What is logged, and to whom."""

from __future__ import annotations

import asyncpg
import pytest
import structlog
from sqlalchemy.exc import IntegrityError

from engine.log import configure_log


def test_a_logger_follows_the_level_last_set(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger()
    configure_log("json", "info")
    log.info("heard", count=1)
    configure_log("json", "warning")
    log.info("not heard")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith('{"count": 1, "event": "heard"')
    assert "not heard" not in err


def test_the_row_that_postgresql_quotes_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    said = {"C": "23514", "M": "violates members_check", "D": "Failing row contains (M-0815,\nDE89).", "H": "Look."}
    configure_log("json", "info")
    try:
        try:
            raise asyncpg.PostgresError.new(said)
        except asyncpg.PostgresError as error:
            raise IntegrityError("INSERT", {}, error, hide_parameters=True) from error
    except IntegrityError:
        structlog.get_logger().exception("job failed")
    err = capsys.readouterr().err
    assert "violates members_check" in err
    assert "Look." in err
    assert "[SQL: INSERT]" in err
    assert "M-0815" not in err
    assert "DE89" not in err
