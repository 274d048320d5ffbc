"""A browser without a screen: it keeps cookies, follows to the page after a form, and finds forms on a page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from typing import NamedTuple

from aiohttp import ClientSession, CookieJar, FormData
from lxml import html

from tests.serving import Caller, Served


class Leaf(NamedTuple):
    """What came back. `page`: parsed; `text`: what a person reads of it; `told`: the source less random marks."""

    status: int
    headers: Mapping[str, str]
    source: str
    url: str

    @property
    def page(self) -> html.HtmlElement:
        return html.fromstring(self.source)

    @property
    def told(self) -> str:
        return re.sub(r'(name="(?:csrf|key|seen)" value|id|popovertarget|aria-labelledby)="[^"]*"', "", self.source)

    @property
    def text(self) -> str:
        body = self.page.body
        for hidden in body.xpath(".//script|.//template"):
            hidden.drop_tree()
        return re.sub(r"\s+", " ", unescape(body.text_content())).strip()


@dataclass
class Browser:
    """One visitor."""

    session: ClientSession
    url: str
    leaf: Leaf | None = None

    async def open(self, path: str, **headers: str) -> Leaf:
        """Look at a page."""
        return await self._ask("GET", path, headers=headers)

    async def sign_in(self, caller: Caller) -> Leaf:
        """Sign in with somebody's token."""
        return await self.send("/sign-in", {"token": caller.token})

    async def send(self, path: str, fields: Mapping[str, object], **headers: str) -> Leaf:
        """Send a form as it is given, without what the page adds."""
        return await self._ask(
            "POST", path, data=FormData([(name, value) for name, value in fields.items()]), headers=headers
        )

    async def press(
        self, operation: str, file: tuple[str, bytes] | None = None, nth: int = 0, **fields: object
    ) -> Leaf:
        """Fill in and send the form of the page that asks for this path under /do: `approve`, `runs/7/approve`."""
        assert self.leaf is not None
        forms = [form for form in self.leaf.page.forms if (form.get("action") or "").endswith(operation)]
        assert forms, f"no form for {operation} on {self.leaf.url}"
        form = forms[nth]
        values: dict[str, object] = dict(form.form_values())
        values |= {name.replace("__", "."): value for name, value in fields.items()}
        data = FormData([(name, str(value)) for name, value in values.items()])
        if file is not None:
            name = form.xpath(".//input[@type='file']")[0].get("name")
            data.add_field(name, file[1], filename=file[0])
        return await self._ask("POST", form.get("action"), data=data)

    def offers(self, operation: str) -> bool:
        """Whether the page has a form for this path."""
        assert self.leaf is not None
        return any((form.get("action") or "").endswith(operation) for form in self.leaf.page.forms)

    async def _ask(self, method: str, path: str, **options: object) -> Leaf:
        async with self.session.request(method, self.url + path, **options) as response:  # type: ignore[arg-type]  # aiohttp's own options
            source = (await response.read()).decode()
            self.leaf = Leaf(response.status, response.headers, source, response.url.path_qs)
        return self.leaf


@asynccontextmanager
async def browsing(served: Served) -> AsyncIterator[Browser]:
    """Somebody with an empty browser."""
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        yield Browser(session, served.url)
