"""Settings: config/settings.toml, overridden by the environment. Read at the faces, passed down as values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from engine.errors import InvalidInput
from engine.resources import config_dir

PREFIX = "FENTAN_"


def _database_address(address: SecretStr) -> SecretStr:
    """The driver spelled out: everybody writes postgresql:// or postgres://. Errors do not repeat a password."""
    scheme, separator, rest = address.get_secret_value().partition("://")
    if not scheme:
        return address
    spelled = f"postgresql+asyncpg://{rest}"
    if separator and scheme in {"postgresql+asyncpg", "postgresql", "postgres"} and _is_address(spelled):
        return SecretStr(spelled)
    raise ValueError("write it like postgresql://user:password@host:5432/database")


def _is_address(database_url: str) -> bool:
    # Imported here: who uses the embedded server need not wait for it.
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - see above
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415 - see above

    try:
        make_url(database_url)
    except (ArgumentError, ValueError):
        return False
    return True


def _redis_address(address: SecretStr) -> SecretStr:
    if not address.get_secret_value():
        return address
    try:
        parts = urlsplit(address.get_secret_value())
        is_address = parts.scheme in {"redis", "rediss", "unix"} and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError("write it like redis://host:6379/0, rediss://host:6379/0 or unix:///folder/socket")
    return address


def _api_address(address: str) -> str:
    if not address:
        return address
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or "@" in address:
        raise ValueError("write it like http://host:8080, without a user or password")
    return address.rstrip("/")


def _time_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError("name a time zone like Asia/Shanghai")
    return name


@cache
def networks_of(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """IP addresses and networks, apart by commas. Raises ValueError."""
    return tuple(ip_network(each.strip()) for each in text.split(",") if each.strip())


def _networks(text: str) -> str:
    try:
        networks_of(text)
    except ValueError:
        raise ValueError("write addresses or networks apart by commas, like 127.0.0.1, 10.0.0.0/8") from None
    return text


class Settings(BaseSettings):
    """Every setting, its type and its bounds. config/settings.toml says what each is for."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    data_dir: Path
    database_url: Annotated[SecretStr, AfterValidator(_database_address)]
    redis_url: Annotated[SecretStr, AfterValidator(_redis_address)]
    lease_seconds: float = Field(gt=0, le=3600)
    slice_seconds: float = Field(gt=0, le=600)
    sweep_seconds: float = Field(gt=0, le=600)
    max_attempts: int = Field(ge=1, le=100)
    freeze_hours: float = Field(gt=0, le=24 * 7)
    shards_in_hand: int = Field(ge=1, le=16)
    log_format: Literal["auto", "console", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    api_host: str = Field(min_length=1, max_length=255)
    api_port: int = Field(ge=0, le=65535)
    requests_per_minute: int = Field(ge=1, le=1_000_000)
    trusted_proxies: Annotated[str, AfterValidator(_networks)]
    console_time_zone: Annotated[str, AfterValidator(_time_zone)]
    upload_mib_max: int = Field(ge=1, le=1 << 20)
    api_url: Annotated[str, AfterValidator(_api_address)]
    api_token: SecretStr
    member_tag_key: SecretStr = Field(min_length=16, max_length=64)
    account_key: SecretStr = Field(min_length=16, max_length=64)
    signing_key: SecretStr = Field(min_length=16, max_length=64)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; nothing else counts."""
        return init_settings, env_settings, _file(settings_cls)


class Shown(NamedTuple):
    """One line of `fentan settings`."""

    name: str
    value: str
    source: str


def _file(settings: type[BaseSettings]) -> TomlConfigSettingsSource:
    return TomlConfigSettingsSource(settings, toml_file=config_dir() / "settings.toml")


def load_settings() -> Settings:
    """The settings in force. Raises InvalidInput that names every wrong one, and what is no setting at all."""
    unknown = "; ".join(_unknown(os.environ))
    if unknown:
        raise InvalidInput(f"{unknown}; correct it or unset it")
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        )
        raise InvalidInput(f"settings are wrong: {wrong}; correct FENTAN_… or config/settings.toml") from None


def _unknown(environment: Mapping[str, str]) -> Iterator[str]:
    known = [name.upper() for name in Settings.model_fields]
    for variable in sorted(environment):
        name = variable.upper().removeprefix(PREFIX)
        if variable.upper().startswith(PREFIX) and name not in known:
            nearest = get_close_matches(name, known, n=1)
            yield f"{variable} is no setting" + (f" (did you mean {PREFIX}{nearest[0]}?)" if nearest else "")


def shown(settings: Settings, environment: dict[str, str]) -> Iterator[Shown]:
    """Each setting with where it came from; secrets are hidden, empty ones say so."""
    names = {name.upper() for name in environment}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = "hidden" if value.get_secret_value() else "(not set: embedded)"
        variable = f"{PREFIX}{name.upper()}"
        yield Shown(name, str(value), variable if variable in names else "config/settings.toml")
