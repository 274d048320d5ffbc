"""Settings: what is wrong is named, and no password is repeated."""

from __future__ import annotations

import os

import pytest

from engine.errors import InvalidInput
from engine.settings import load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in os.environ:
        if name.upper().startswith("FENTAN_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("postgresql+asyncpg://u:p@h:5432/d", "postgresql+asyncpg://u:p@h:5432/d"),
        ("postgresql://u:p/w@h/d", "postgresql+asyncpg://u:p/w@h/d"),
        ("postgres://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql+asyncpg:///d?host=/run/postgresql"),
    ],
)
def test_the_driver_of_a_database_is_spelled_out(monkeypatch: pytest.MonkeyPatch, written: str, meant: str) -> None:
    monkeypatch.setenv("FENTAN_DATABASE_URL", written)
    assert load_settings().database_url.get_secret_value() == meant


@pytest.mark.parametrize("written", ["", "redis://:p@h:6379/0", "rediss://h", "unix:///folder/socket?db=1"])
def test_an_address_of_a_doorbell_stays_as_written(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("FENTAN_REDIS_URL", written)
    assert load_settings().redis_url.get_secret_value() == written


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        *(
            ("FENTAN_DATABASE_URL", value, "database_url: write it like postgresql://user:password@host:5432/database")
            for value in (
                "mysql://u:secret@h/d",
                "postgresql+psycopg://u:secret@h/d",
                "secret",
                "postgresql",
                "postgresql://u:secret@h:notaport/d",
            )
        ),
        *(
            ("FENTAN_REDIS_URL", value, "redis_url: write it like redis://host:6379/0, rediss://host:6379/0 or unix://")
            for value in ("http://secret", "redis://:secret@h:notaport/0", "redis://h:99999", "secret", "h:6379")
        ),
        *(
            ("FENTAN_TRUSTED_PROXIES", value, "trusted_proxies: write addresses or networks apart by commas")
            for value in ("secret", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.1 10.0.0.2")
        ),
        ("FENTAN_LEASE_SECONDS", "-1", "lease_seconds: Input should be greater than 0"),
        ("FENTAN_DATABSE_URL", "secret", "FENTAN_DATABSE_URL is no setting (did you mean FENTAN_DATABASE_URL?)"),
        ("fentan_lease_second", "1", "fentan_lease_second is no setting (did you mean FENTAN_LEASE_SECONDS?)"),
        ("FENTAN_QQ", "1", "FENTAN_QQ is no setting; correct it or unset it"),
    ],
)
def test_a_wrong_setting_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput) as refused:
        load_settings()
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "Value error" not in str(refused.value)


def test_the_case_of_a_setting_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("fentan_log_level", "debug")
    assert load_settings().log_level == "debug"
