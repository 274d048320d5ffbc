"""Signing in with a name and password or a token, signing out; and what a visitor chooses: language and colours."""

from __future__ import annotations

from aiohttp import web

from engine.access.attempts import TooManyFailures
from engine.access.passwords import TooManyAtOnce, token_by_password
from engine.access.sessions import end_session, open_session
from engine.access.tokens import NotAuthenticated, Token, authenticate
from engine.api.answering import SESSION
from engine.api.problems import title_of
from engine.api.service import SERVICE
from engine.console.forms import check_origin, fields_and_file
from engine.console.language import COOKIE as LANGUAGE_COOKIE
from engine.console.language import Language, translations
from engine.console.page import Cookie
from engine.console.proxies import client_address
from engine.console.rendering import THEME_COOKIE, THEMES, render
from engine.console.serving import explained, keep, to, within
from engine.console.visits import Visit

YEAR_SECONDS = 365 * 24 * 3600


def add_signing_in(app: web.Application) -> None:
    """Serve them."""
    app.router.add_get("/sign-in", explained(show_form))
    app.router.add_post("/sign-in", explained(sign_in))
    app.router.add_post("/sign-out", explained(sign_out))
    app.router.add_get("/language", explained(choose_language))
    app.router.add_get("/theme", explained(choose_theme))


async def show_form(visit: Visit) -> web.StreamResponse:
    """The form; who is signed in already goes on."""
    back = within(visit.request.query.get("back", "/"))
    if visit.visitor is not None:
        return to(back)
    return render(visit, "sign_in.html", {"back": back, "refused": None, "name": ""})


async def sign_in(visit: Visit) -> web.StreamResponse:
    """Open a session for who has a token, or the password of one."""
    check_origin(visit.request)
    said = {name: str(value) for name, value in (await visit.request.post()).items()}
    back, words = within(said.get("back", "/")), translations(visit.language)
    try:
        token = await _who(visit, said)
    except NotAuthenticated:
        why = words.gettext("That is not right, or no longer valid.")
        return _again(visit, back, said, why, 401)
    except TooManyFailures as error:
        why = words.gettext("Too many tries failed. Wait %d seconds, or sign in with the token.") % error.wait_seconds
        return _again(visit, back, said, why, 429)
    except TooManyAtOnce as error:
        return _again(visit, back, said, words.gettext(title_of(type(error))), 503)
    async with visit.service.engine.begin() as connection:
        if visit.secret is not None:
            await end_session(connection, visit.secret)
        secret, ends_at = await open_session(connection, token, now=visit.now)
    response = to(back)
    keep(response, visit.request, Cookie(SESSION, secret, "/", int((ends_at - visit.now).total_seconds())))
    return response


def _again(visit: Visit, back: str, said: dict[str, str], why: str, status: int) -> web.Response:
    context = {"back": back, "refused": why, "name": said.get("name", "")}
    return render(visit, "sign_in.html", context, status=status)


async def _who(visit: Visit, said: dict[str, str]) -> Token:
    engine, written = visit.request.app[SERVICE].engine, said.get("token", "").strip()
    if written:
        return await authenticate(engine, written, now=visit.now)
    address = client_address(visit.request, visit.service.settings)
    name, password = said.get("name", ""), said.get("password", "")
    return await token_by_password(engine, name, password, address=address, now=visit.now)


async def sign_out(visit: Visit) -> web.StreamResponse:
    """End the session; one that has ended by itself is left as well."""
    if visit.visitor is not None:
        async with fields_and_file(visit):
            pass
        assert visit.secret is not None
        async with visit.service.engine.begin() as connection:
            await end_session(connection, visit.secret)
    response = to("/sign-in")
    response.del_cookie(SESSION, path="/")
    return response


async def choose_language(visit: Visit) -> web.StreamResponse:
    """Keep a language, and go back."""
    return _chosen(visit, LANGUAGE_COOKIE, tuple(Language))


async def choose_theme(visit: Visit) -> web.StreamResponse:
    """Keep light or dark, or what the system has, and go back."""
    return _chosen(visit, THEME_COOKIE, THEMES)


def _chosen(visit: Visit, cookie: str, choices: tuple[str, ...]) -> web.Response:
    response, chosen = to(within(visit.request.query.get("back", "/"))), visit.request.query.get("to")
    if chosen in choices:
        response.set_cookie(cookie, chosen, max_age=YEAR_SECONDS, httponly=True, samesite="Lax", path="/")
    return response
