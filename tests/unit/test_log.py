"""What is logged, and to whom."""

from __future__ import annotations

import pytest
import structlog

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
