"""PostgreSQL as the tests speak it: a statement that one test compiled is not compiled again for another's database."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.util import LRUCache

_COMPILED = LRUCache[object, object](2_000)


class SharedDialect(PGDialect_asyncpg):
    """asyncpg's, equal to every other of its kind, so that all engines of a test process have one cache."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(SharedDialect)

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        """Give a new engine the cache of all."""
        engine.update_execution_options(compiled_cache=_COMPILED)
