"""What schemathesis cannot know by itself: an Idempotency-Key belongs to one request."""

from __future__ import annotations

import itertools
import re
from typing import Any

import schemathesis
from schemathesis import Case, HookContext

from engine.access.idempotency import KEY

_numbers = itertools.count(1)
_fits = re.compile(KEY).search


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Where the key is one, take another that nobody had: the second use of a key for something else is refused."""
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and _fits(key):
        case.headers["Idempotency-Key"] = f"case-{next(_numbers):08}"
