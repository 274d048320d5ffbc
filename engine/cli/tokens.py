"""`fentan token`: issue, list and revoke the tokens of the API, and give them passwords for the console."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.access.names import actor_name
from engine.access.roles import Role
from engine.access.tokens import DAYS_MAX, Token, list_tokens, token_of
from engine.access.tokens import issue as issue_token
from engine.access.tokens import revoke as revoke_token
from engine.cli.answer import print_json
from engine.cli.options import As
from engine.cli.shell import in_database
from engine.money import BIGINT_MAX
from engine.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Tokens of the API: who may call it, and as whom.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TokenId = Annotated[int, typer.Argument(metavar="TOKEN", min=1, max=BIGINT_MAX, help="Its number.")]


@app.command()
def issue(
    name: Annotated[str, typer.Argument(metavar="NAME", parser=actor_name, help="Who holds it: as whom they decide.")],
    role: Annotated[Role, typer.Option(help="What they do here.")],
    actor: As,
    days: Annotated[int, typer.Option(min=1, max=DAYS_MAX, help="How long it lives.")] = 90,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Only this of what the role may, as runs:read; several as well."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a token. It is shown this once: only its digest is kept."""
    known: Collection[str] = ()
    if scope:
        from engine.api.routes import SCOPES

        known = SCOPES

    async def issued(engine: AsyncEngine, _: Settings) -> tuple[Token, str]:
        async with engine.begin() as connection:
            now, scopes = datetime.now(UTC), scope or None
            return await issue_token(
                connection, name, role, days=days, now=now, actor=actor, scopes=scopes, known_scopes=known
            )

    token, text = in_database(issued)
    if as_json:
        print_json({**asdict(token), "token": text})
        return
    typer.echo(text)
    typer.echo(
        f"token {token.token_id} of {name}, {role}, until {token.expires_at:%Y-%m-%d}; keep it: it is not shown again",
        err=True,
    )


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every token: whose, what it may, whether it has a password, when last used; never the tokens themselves."""

    async def listed(engine: AsyncEngine, _: Settings) -> list[Token]:
        async with engine.connect() as connection:
            return await list_tokens(connection, limit=10_000)

    tokens = in_database(listed)
    if as_json:
        print_json([asdict(token) for token in tokens])
        return
    table = Table("token", "name", "role", "scopes", "password", "issued by", "expires", "last used", "revoked by")
    for token in tokens:
        used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
        scopes = ", ".join(token.scopes) if token.scopes is not None else "all"
        password = "yes" if token.has_password else "no"
        until = f"{token.expires_at:%Y-%m-%d}"
        row = (str(token.token_id), token.name, token.role, scopes, password, token.issued_by, until)
        table.add_row(*row, used, token.revoked_by)
    Console(markup=False).print(table)


@app.command()
def revoke(token_id: TokenId, actor: As) -> None:
    """End a token at once."""

    async def revoked(engine: AsyncEngine, _: Settings) -> Token:
        async with engine.begin() as connection:
            return await revoke_token(connection, token_id, now=datetime.now(UTC), actor=actor)

    token = in_database(revoked)
    typer.echo(f"token {token.token_id} of {token.name} was revoked by {token.revoked_by}")


@app.command("password")
def password_of(
    token_id: TokenId,
    actor: As,
    remove: Annotated[bool, typer.Option("--remove", help="Take the password away.")] = False,
) -> None:
    """Give a token a password, to sign in to the console by name; asked for, or a line of standard input.

    Whoever is signed in with the token is signed out.
    """
    from engine.access.passwords import remove_password, set_password

    given = "" if remove else _asked()

    async def changed(engine: AsyncEngine, _: Settings) -> Token:
        async with engine.begin() as connection:
            if remove:
                await remove_password(connection, token_id, actor=actor)
            else:
                await set_password(connection, token_id, given, now=datetime.now(UTC), actor=actor)
            return await token_of(connection, token_id)

    token = in_database(changed)
    typer.echo(f"token {token.token_id} of {token.name} {'has no password' if remove else 'has a new password'}")


def _asked() -> str:
    """A password: typed twice where somebody sits, one line of standard input otherwise."""
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt="the same again", err=True))
    return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
