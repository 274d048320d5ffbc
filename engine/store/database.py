"""Sessions: one engine per process, connections that commit at the end of a `begin` block, and the migrations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from engine.errors import FentanError
from engine.resources import migrations_dir


class DatabaseUnreachable(FentanError):
    """The database does not answer; check FENTAN_DATABASE_URL, or unset it to use the embedded server."""


class SchemaDiffers(FentanError):
    """The database has the schema of another version of Fentan."""


AWAY = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
"""What a database raises that does not answer, or not in time: one that starts or stops the driver's own."""


def open_engine(
    database_url: str, *, pool_size: int = 5, server_settings: Mapping[str, str] | None = None
) -> AsyncEngine:
    """An engine on `database_url` (`postgresql+asyncpg://…`). Dispose of it when done.

    `server_settings`: PostgreSQL's own, of every connection.
    """
    return create_async_engine(
        database_url,
        pool_size=pool_size,
        connect_args={"server_settings": dict(server_settings or {})},
        hide_parameters=True,  # an error's text is logged and stored; what was bound may name a member
        json_serializer=lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
    )


@asynccontextmanager
async def engine_on(
    database_url: str, *, pool_size: int = 5, server_settings: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncEngine]:
    """`open_engine` for the length of a block; raises DatabaseUnreachable when nobody answers."""
    try:
        engine = open_engine(database_url, pool_size=pool_size, server_settings=server_settings)
        async with engine.connect():
            pass
    # TypeError and ValueError: a parameter of the address that asyncpg does not know or cannot read.
    except (OSError, asyncpg.PostgresError, SQLAlchemyError, TypeError, ValueError) as error:
        raise DatabaseUnreachable(f"{DatabaseUnreachable.__doc__} ({type(error).__name__}: {error})") from error
    try:
        yield engine
    finally:
        await engine.dispose()


async def migrate(engine: AsyncEngine, revision: str = "head") -> None:
    """Bring the schema to `revision`; alembic's own lock is not enough, so two migrators take turns here."""
    # Imported here: alembic takes longer to load than most commands take to run.
    import alembic.command  # noqa: PLC0415 - see above
    import alembic.config  # noqa: PLC0415 - see above

    def upgrade(connection: Connection) -> None:
        config = alembic.config.Config()
        config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)

    async with engine.begin() as connection:
        await connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('fentan migrate'))")
        await connection.run_sync(upgrade)


async def prepare(engine: AsyncEngine) -> None:
    """Make the schema in an empty database; raises SchemaDiffers where there is another than this version's."""
    async with engine.connect() as connection:
        if await _revision(connection) is not None:
            await check_schema(connection)
            return
    await migrate(engine)


async def check_schema(connection: AsyncConnection) -> None:
    """Raises SchemaDiffers unless the schema is this version's."""
    newest = max(path.stem.partition("_")[0] for path in (migrations_dir() / "versions").glob("*.py"))
    found = await _revision(connection)
    if found != newest:
        raise SchemaDiffers(f"the schema is at {found}, this version of Fentan needs {newest}; run `fentan migrate`")


async def _revision(connection: AsyncConnection) -> str | None:
    """What the schema is at; None in an empty database."""
    if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
        return None
    revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection[asyncpg.Record]:
    """The one door to the raw asyncpg connection under a SQLAlchemy connection."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, asyncpg.Connection)
    return driver


@contextmanager
def while_connected(driver: asyncpg.Connection[asyncpg.Record]) -> Iterator[None]:
    """Raise ConnectionDoesNotExistError in the block when the connection is lost, whatever it waits for.

    A COPY of asyncpg's waits for its full buffer to drain, and does so for ever once there is nobody to read it.
    """
    task, is_waiting, is_lost = asyncio.current_task(), True, False
    assert task is not None

    def cut(_: object) -> None:
        nonlocal is_lost
        if is_waiting:
            is_lost = task.cancel()

    driver.add_termination_listener(cut)
    try:
        yield
    except asyncio.CancelledError:
        if is_lost and task.uncancel() == 0:
            raise asyncpg.ConnectionDoesNotExistError("the connection was lost in the middle of a COPY") from None
        raise
    finally:
        is_waiting = False  # asyncpg calls soon, which may be too late
        driver.remove_termination_listener(cut)
