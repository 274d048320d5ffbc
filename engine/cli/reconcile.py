"""`fentan reconcile`: what the custodian says that the books do not explain, and who settles it how."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Breaks between the books and the custodian's statements: queue them, resolve them, lock what is done.",
)
