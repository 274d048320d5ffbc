"""The console on the API's application: pages at their paths, forms under /do, script and style under /static."""

from __future__ import annotations

from aiohttp import web

from engine.api.routes import ENDPOINTS
from engine.console.actions import doing
from engine.console.assets import ASSETS, Assets
from engine.console.kept import KEPT, KeptPages
from engine.console.routes import PAGES
from engine.console.serving import explained, showing
from engine.console.signing_in import add_signing_in
from engine.console.visits import Visit
from engine.errors import NotFound


def with_console(app: web.Application) -> web.Application:
    """The application, with the console. What is nowhere else is a page that says so."""
    app[ASSETS] = Assets()
    app[ASSETS].add_to(app)
    app[KEPT] = KeptPages()
    add_signing_in(app)
    for area in PAGES:
        for page in area.all:
            add = app.router.add_get if page.method == "GET" else app.router.add_post
            add(page.path, showing(page, area.area))
    for endpoint in ENDPOINTS:
        if endpoint.writes:
            app.router.add_post(f"/do{endpoint.path}", doing(endpoint))
    app.router.add_route("*", "/{nowhere:(?!v1/).*}", explained(_nowhere))
    return app


async def _nowhere(_: Visit) -> web.StreamResponse:
    raise NotFound("there is no such page; the link may be old, or mistyped")
