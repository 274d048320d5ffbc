"""Tokens: who may call, and as whom they decide. A token itself is shown once, when it is issued."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.access.roles import ADMINS, EVERYONE, Role
from engine.access.tokens import DAYS_MAX, Token, issue, list_tokens, revoke, token_of
from engine.api.endpoint import Endpoints
from engine.api.fields import Id, Model, Moment, Name, Numbered, Page, Paged, Reasoned
from engine.api.problems import Forbidden
from engine.api.service import Call

endpoints = Endpoints("tokens", "Tokens: who may call the API, and as whom.")
of_the_caller = Endpoints("me", "Whoever calls.")

Scope = Annotated[str, Field(max_length=40, pattern=r"^[a-z-]+:(read|write)$")]


class OfToken(Model):
    """One token."""

    token_id: Id


class TokenFilter(Paged):
    """Which tokens, in the order they were issued."""

    after: Numbered = None


class NewToken(Model):
    """Whose it will be, what they do here, for how many days; `scopes`: only this of what the role may."""

    name: Name
    role: Role
    days: Annotated[int, Field(ge=1, le=DAYS_MAX)] = 90
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=100)] | None = None


class TokenView(Model):
    """Whose a token is, and what it may; never the token itself. No `scopes`: all that the role may.

    `has_password`: its holder may sign in to the console by name.
    """

    token_id: int
    name: str
    role: Role
    scopes: list[str] | None
    issued_by: str
    issued_at: Moment
    expires_at: Moment
    revoked_at: Moment | None
    revoked_by: str | None
    has_password: bool


class ListedToken(TokenView):
    """Also when it was last used, to the minute: that is no part of what a token is, and of its ETag."""

    last_used_at: Moment | None


class IssuedToken(TokenView):
    """A new token: `token` is shown this once."""

    token: str


class Me(Model):
    """Whose token the request came with, and what it may."""

    token_id: int
    name: str
    role: Role
    scopes: list[str] | None
    expires_at: Moment


def _view(token: Token) -> TokenView:
    return TokenView.model_validate(token, from_attributes=True)


@of_the_caller.get("/me", EVERYONE)
async def show_me(call: Call) -> Me:
    """Whose token this is: as whom it decides, what it may, and until when."""
    return Me.model_validate(call.token, from_attributes=True)


@endpoints.get("/tokens", ADMINS)
async def list_of_tokens(call: Call, params: TokenFilter) -> Page[ListedToken]:
    """Every token, in the order they were issued; the revoked and expired ones too."""
    after = int(params.after) if params.after else 0
    tokens = await list_tokens(call.connection, after=after, limit=params.limit + 1)

    def listed(token: Token) -> ListedToken:
        return ListedToken.model_validate(token, from_attributes=True)

    return call.page(tokens, params.limit, listed, lambda token: token.token_id)


@endpoints.get("/tokens/{token_id}", ADMINS)
async def show_token(call: Call, params: OfToken) -> TokenView:
    """One token."""
    return _view(await token_of(call.connection, params.token_id))


@endpoints.post("/tokens", ADMINS, status=201, is_secret=True)
async def issue_token(call: Call, body: NewToken) -> IssuedToken:
    """Issue a token, which is shown this once; by a token with scopes, for no more than these."""
    from engine.api.routes import SCOPES  # noqa: PLC0415 - where this module is one of many

    if call.token.scopes is not None and not all(map(call.token.allows, body.scopes or ["everything"])):
        raise Forbidden("a token with scopes issues tokens with no other scopes than its own; name some of these")
    token, text = await issue(
        call.connection,
        body.name,
        body.role,
        days=body.days,
        now=call.now,
        actor=call.actor,
        scopes=body.scopes,
        known_scopes=SCOPES,
    )
    call.created(f"/v1/tokens/{token.token_id}")
    return IssuedToken(**dict(_view(token)), token=text)


@endpoints.post("/tokens/{token_id}/revoke", ADMINS, changes=show_token)
async def revoke_token(call: Call, params: OfToken, body: Reasoned) -> TokenView:
    """End a token at once; the same again changes nothing."""
    revoked = await revoke(call.connection, params.token_id, now=call.now, actor=call.actor, reason=body.reason)
    return _view(revoked)
