"""The SFTP transport: an extra, for it needs asyncssh."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from engine.custodian.private import new_file
from engine.custodian.routes import SftpRoute, secrets_of
from engine.custodian.transports.passing import UNFINISHED
from engine.custodian.transports.refused import NotTaken, Unsure
from engine.errors import InvalidInput

if TYPE_CHECKING:
    from asyncssh import SFTPClient

_PATIENCE_SECONDS = 15


class Sftp:
    """Two folders of a server: files are put into one under a passing name first, and read from the other."""

    def __init__(self, route: SftpRoute, client: SFTPClient) -> None:
        self._out, self._into, self._client = PurePosixPath(route.out), PurePosixPath(route.into), client

    async def put(self, file: Path) -> None:
        """See `Transport.put`."""
        passing = str(self._out / f"{file.name}.part")
        with _answering():
            await self._client.put(str(file), passing)
        with _answering(Unsure):
            await self._client.posix_rename(passing, str(self._out / file.name))

    async def fetch(self, into: Path, known: frozenset[str]) -> None:
        """See `Transport.fetch`. A file is called by its name, its last change and its size: banks use names again."""
        with _answering():
            for entry in await self._client.readdir(str(self._into)):
                remote, about = PurePosixPath(str(entry.filename)), entry.attrs
                name = f"{remote.stem}-{about.mtime or 0}-{about.size or 0}{remote.suffix}"
                is_file = about.permissions is None or stat.S_ISREG(about.permissions)
                if not is_file or name in known or remote.name.startswith(".") or remote.suffix in UNFINISHED:
                    continue
                passing = into / f"{name}.part"
                new_file(passing).close()
                await self._client.get(str(self._into / remote.name), str(passing))
                passing.replace(into / name)


@asynccontextmanager
async def opened(route: SftpRoute, environment: Mapping[str, str]) -> AsyncIterator[Sftp]:
    """A session with the server. Raises InvalidInput where a variable or the extra is missing, NotTaken else."""
    try:
        import asyncssh  # noqa: PLC0415 - an extra
    except ImportError:
        raise InvalidInput("SFTP needs the extra sftp; `pip install fentan[sftp]`") from None
    names = (route.host_from, route.user_from, route.key_from, route.known_hosts_from)
    host, user, key, known_hosts = secrets_of(environment, *names)
    for name, path in ((route.key_from, key), (route.known_hosts_from, known_hosts)):
        _refuse_missing(name, Path(path))
    with _answering():
        connection = await asyncssh.connect(
            host,
            route.port,
            username=user,
            client_keys=[key],
            known_hosts=known_hosts,
            connect_timeout=_PATIENCE_SECONDS,
        )
    async with connection:
        with _answering():
            client = await connection.start_sftp_client()
        async with client:
            yield Sftp(route, client)


def _refuse_missing(variable: str, file: Path) -> None:
    if not file.is_file():
        raise InvalidInput(f"{variable} names no file that is there")


@contextmanager
def _answering(broken: type[NotTaken] = NotTaken) -> Iterator[None]:
    """Whatever goes wrong on the way is said without the server's name or the user's."""
    import asyncssh  # noqa: PLC0415 - an extra

    try:
        yield
    except (asyncssh.Error, OSError) as error:
        raise broken(f"the custodian does not answer over SFTP ({type(error).__name__})") from None
