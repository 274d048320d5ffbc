"""Settings: config/settings.toml, overridden by the environment. Read at the faces, passed down as values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from engine.errors import InvalidInput
from engine.resources import config_dir


class Settings(BaseSettings):
    """Every setting, its type and its bounds. config/settings.toml says what each is for."""

    model_config = SettingsConfigDict(env_prefix="FENTAN_", frozen=True, extra="forbid")

    data_dir: Path
    database_url: SecretStr
    redis_url: SecretStr
    lease_seconds: float = Field(gt=0, le=3600)
    slice_seconds: float = Field(gt=0, le=600)
    sweep_seconds: float = Field(gt=0, le=600)
    max_attempts: int = Field(ge=1, le=100)
    freeze_hours: float = Field(gt=0, le=24 * 7)
    shards_in_hand: int = Field(ge=1, le=16)
    log_format: Literal["auto", "console", "json"]
    log_level: Literal["debug", "info", "warning", "error"]
    member_tag_key: SecretStr = Field(min_length=16, max_length=64)

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
    """The settings in force. Raises InvalidInput that names every wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInput(f"settings are wrong: {wrong}; correct FENTAN_… or config/settings.toml") from None


def shown(settings: Settings, environment: dict[str, str]) -> Iterator[Shown]:
    """Each setting with where it came from; secrets are hidden, empty ones say so."""
    names = {name.upper() for name in environment}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = "hidden" if value.get_secret_value() else "(not set: embedded)"
        variable = f"FENTAN_{name.upper()}"
        yield Shown(name, str(value), variable if variable in names else "config/settings.toml")
