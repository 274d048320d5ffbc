"""The HTTP transport: files are posted, and what the bank has ready is read from a list of it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from engine.custodian.private import new_file
from engine.custodian.routes import HttpRoute, secrets_of
from engine.custodian.transports.refused import NotTaken, Unsure
from engine.errors import InvalidInput

_CONFLICT, _BROKEN = 409, 5
_ANSWER_MOST = _PIECE = 2**20
_PATIENCE = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=120)


class Http:
    """A bank behind an address; nothing of the address is ever said."""

    def __init__(self, route: HttpRoute, url: str, only: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self._route, self._url, self._only, self._session = route, url.rstrip("/"), only, session

    async def put(self, file: Path) -> None:
        """See `Transport.put`. A bank that says it has the file already has taken it."""
        typed = {"Content-Type": self._route.content_type}
        with file.open("rb") as body, _answering(Unsure):
            async with self._session.post(
                self._url + self._route.submit, data=body, headers=typed, allow_redirects=False
            ) as answer:
                if answer.status // 100 == 2:
                    return
                said = (await answer.content.read(_ANSWER_MOST)).decode("utf-8", "replace")
        has_it = self._route.duplicate is not None and self._route.duplicate in said
        if answer.status != _CONFLICT and not has_it:
            refused = Unsure if answer.status // 100 == _BROKEN else NotTaken
            raise refused(f"the custodian answered with status {answer.status}")

    async def fetch(self, into: Path, known: frozenset[str]) -> None:
        """See `Transport.fetch`."""
        if self._route.listing is None or self._route.download is None:
            return
        with _answering():
            listed = json.loads(b"".join([some async for some in self._read(self._route.listing)]))
            for identity, name in _entries(listed, self._route, self._only):
                if name not in known:
                    await self._download(self._route.download.replace("{id}", quote(identity, safe="")), into / name)

    async def _download(self, path: str, to: Path) -> None:
        passing = to.with_name(f"{to.name}.part")
        with new_file(passing) as file:
            async for some in self._read(path):
                file.write(some)
        passing.replace(to)

    async def _read(self, path: str) -> AsyncIterator[bytes]:
        async with self._session.get(self._url + path, allow_redirects=False) as answer:
            if answer.status // 100 != 2:
                raise NotTaken(f"the custodian answered with status {answer.status}")
            async for some in answer.content.iter_chunked(_PIECE):
                yield some


@asynccontextmanager
async def opened(route: HttpRoute, environment: Mapping[str, str]) -> AsyncIterator[Http]:
    """A session with the bank. Raises InvalidInput where a variable of the environment is missing or no address."""
    (url,) = secrets_of(environment, route.url_from)
    if not re.match("https?://[^/]", url):
        raise InvalidInput(f"{route.url_from} is no address; write it like https://bank.example/api")
    values = secrets_of(environment, *route.headers_from.values())
    headers = dict(zip(route.headers_from, values, strict=True))
    only = dict(zip(route.only, secrets_of(environment, *route.only.values()), strict=True))
    async with aiohttp.ClientSession(headers=headers, timeout=_PATIENCE) as session:
        yield Http(route, url, only, session)


@contextmanager
def _answering(broken: type[NotTaken] = NotTaken) -> Iterator[None]:
    """What goes wrong on the way, said without the address, which may hold a password; `broken`: once connected."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError) as error:
        is_before = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        raise (NotTaken if is_before else broken)(
            f"the custodian does not answer over HTTP ({type(error).__name__})"
        ) from None
    except json.JSONDecodeError:
        raise NotTaken("the custodian's list of what is ready is none: it is no JSON") from None
    except ValueError:
        raise NotTaken("the custodian cannot be asked: its address and headers in the environment disagree") from None


def _entries(listed: Any, route: HttpRoute, only: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The id of each thing in the list and its file name, of letters, digits and . - _ whatever the bank says."""
    try:
        for entry in listed:
            if any(entry.get(key) not in (None, value) for key, value in only.items()):
                continue
            name = _KEY.sub(partial(_value_in, entry), route.name)
            yield str(entry[route.id]), re.sub("[^0-9A-Za-z._-]+", "-", name).lstrip(".") + route.suffix
    except (AttributeError, TypeError, KeyError):
        raise NotTaken(f"the custodian's list has objects without {route.id}, or what {route.name} names") from None


def _value_in(entry: Mapping[str, Any], key: re.Match[str]) -> str:
    return str(entry[key[1]])


_KEY = re.compile(r"\{(\w+)\}")
