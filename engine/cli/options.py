"""Options that several commands take, without what their work needs."""

from __future__ import annotations

from typing import Annotated

import typer

As = Annotated[str, typer.Option("--as", metavar="NAME", help="Who decides; it goes into the audit log.")]
