"""From a request for a page to its HTML: who asks, one connection on which nothing changes, refusals as pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import structlog
from aiohttp import web
from multidict import MultiMapping
from pydantic import BaseModel, ValidationError

from engine.access.tokens import NotAuthenticated
from engine.api.problems import Forbidden, of_fields
from engine.api.writing import as_json
from engine.console.flash import COOKIE as FLASH
from engine.console.forms import OURS, check_origin, is_ours
from engine.console.kept import KEPT, Key
from engine.console.page import Cookie, Data, Elsewhere, Page, Shown
from engine.console.refusals import refused
from engine.console.rendering import SECURITY, render, theme_of
from engine.console.visits import Visit, visit_of
from engine.store.pauses import Pause, pauses

Handling = Callable[[Visit], Awaitable[web.StreamResponse]]


def explained(handle: Handling) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What aiohttp calls: who asks is known, and what is refused is told to a person, not to a machine."""

    async def answer(request: web.Request) -> web.StreamResponse:
        visit = Visit(request, None, None, datetime.now(UTC))
        try:
            visit = await visit_of(request)
            if visit.visitor is not None:
                structlog.contextvars.bind_contextvars(token_id=visit.visitor.token_id)
                await visit.service.limits.count(visit.visitor.token_id, visit.now)
            return await handle(visit)
        except NotAuthenticated as error:
            return await shut_out(visit, error)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw is shown too, and logged
            return refused(visit, error)

    return answer


def showing(page: Page, area: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """What aiohttp calls for a page."""

    async def show(visit: Visit) -> web.StreamResponse:
        if page.roles is not None:
            if visit.visitor is None:
                raise NotAuthenticated
            if visit.visitor.role not in page.roles:
                raise Forbidden(f"{visit.visitor.role} may not see this page")
        if area and visit.visitor is not None:
            visit.caller = visit.visitor
        if page.method == "POST":
            return await _sent(page, visit, area)
        if foreign := [name for name in visit.request.query if name not in page.params.model_fields]:
            # What others append to a link on its way is none of ours: a page has one address.
            return to(str(visit.request.rel_url.without_query_params(*foreign)))
        asked = _asked(page, visit, visit.request.query)
        if page.kept_seconds and visit.visitor is None and FLASH not in visit.request.cookies:
            return await _kept(page, visit, asked, area)
        async with visit.reading():
            shown = await page.handler(visit, **asked)
            return _answer(visit, shown, area, await _paused(visit))

    return explained(show)


async def _sent(page: Page, visit: Visit, area: str) -> web.Response:
    """What a form came to."""
    check_origin(visit.request)
    shown = await page.handler(visit, **_asked(page, visit, await visit.request.post()))
    async with visit.reading():
        return _answer(visit, shown, area, await _paused(visit))


async def _paused(visit: Visit) -> list[Pause]:
    """What whoever works here sees on every page. Read last: a handler may set how its transaction begins."""
    if visit.caller is not visit.visitor:
        return []
    return [each for each in (await pauses(visit.call.connection)).values() if each.paused_at]


async def _kept(page: Page, visit: Visit, asked: dict[str, BaseModel], area: str) -> web.Response:
    """A public page, as it was shown just now if it was."""
    kept, key = visit.request.app[KEPT], Key(visit.path, visit.language, theme_of(visit))
    html = kept.get(key, visit.now)
    if html is not None:
        return web.Response(text=html, content_type="text/html", headers=SECURITY)
    async with visit.reading():
        response = _answer(visit, await page.handler(visit, **asked), area, ())
    if response.status == HTTPStatus.OK and response.text is not None:
        kept.keep(key, response.text, visit.now, page.kept_seconds)
    return response


def _answer(visit: Visit, shown: Shown | Elsewhere | Data, area: str, paused: Sequence[Pause]) -> web.Response:
    if isinstance(shown, Data):
        # A browser that is asked to keep a file does so whatever its type; a script reads the same.
        named = {"Content-Disposition": f'attachment; filename="{shown.file}"'} if shown.file else {}
        return web.Response(
            body=as_json(shown.view), content_type="application/json", charset="utf-8", headers=SECURITY | named
        )
    if isinstance(shown, Elsewhere):
        response = to(shown.path)
        if shown.cookie is not None:
            keep(response, visit.request, shown.cookie)
        return response
    return render(visit, shown.template, shown.context, area=area, paused=paused, status=shown.status)


def keep(response: web.Response, request: web.Request, cookie: Cookie) -> None:
    """Have the browser keep a secret, or forget it."""
    # Behind a proxy that ends TLS the request itself looks plain; on this machine there is no TLS to insist on.
    is_secure = request.secure or request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(
        cookie.name,
        cookie.value,
        max_age=cookie.seconds,
        httponly=True,
        samesite="Strict",
        secure=is_secure,
        path=cookie.path,
    )


def _asked(page: Page, visit: Visit, sent: MultiMapping[Any]) -> dict[str, BaseModel]:
    """The parameters of the path and of what was sent. Raises WrongFields."""
    if not page.params.model_fields:
        return {}
    given: dict[str, object] = {}
    for name in sent:
        # A filter that is left as it is says nothing; what every page adds to its forms is none of this one's.
        values = [str(value) for value in sent.getall(name) if value]
        if values and name not in OURS:
            given[name] = values[0] if len(values) == 1 else values
    try:
        return {"params": page.params.model_validate(given | visit.request.match_info)}
    except ValidationError as error:
        raise of_fields(error, "parameters") from None


def to(path: str) -> web.Response:
    """Have the browser go to another page of the console."""
    return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path, **SECURITY})


def within(path: str) -> str:
    """A path to go back to, if it is one of ours; the first page otherwise."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"


async def shut_out(visit: Visit, error: NotAuthenticated) -> web.StreamResponse:
    """Who must sign in first does so, and comes back; what was typed into a form is not lost over it."""
    request = visit.request
    if request.method != "GET" and visit.is_part:
        return refused(visit, error)
    if request.method != "GET":
        is_text = request.content_type == "application/x-www-form-urlencoded" and is_ours(request)
        fields = {name: str(value) for name, value in (await request.post()).items()} if is_text else {}
        typed = [(name, value) for name, value in fields.items() if value and name not in OURS]
        context = {"typed": typed, "back": fields.get("back", "/")}
        return render(visit, "signed_out.html", context, status=HTTPStatus.UNAUTHORIZED)
    if visit.is_part:
        shown = urlsplit(request.headers.get("HX-Current-URL", ""))
        back = shown.path + (f"?{shown.query}" if shown.query else "")
        return web.Response(headers={"HX-Redirect": _sign_in(within(back)), **SECURITY})
    return to(_sign_in(visit.path))


def _sign_in(back: str) -> str:
    return f"/sign-in?back={quote(back, safe='/')}"
