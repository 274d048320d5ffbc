"""What schemathesis cannot know by itself: an Idempotency-Key belongs to one request; what an ETag looks like."""

from __future__ import annotations

import itertools
import os
import re
from typing import Any

import schemathesis
from hypothesis import strategies
from schemathesis import Case, HookContext

from engine.api.fields import KEY, TAG

_numbers = itertools.count(1)
_fits = re.compile(KEY).search

# Of a format that it does not know it makes nothing but letters and digits, in a header.
schemathesis.openapi.format("etag", strategies.from_regex(TAG, fullmatch=True))


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Where the key is one, take another that nobody had: the second use of a key for something else is refused."""
    number, key = next(_numbers), case.headers.get("Idempotency-Key")
    if isinstance(key, str) and _fits(key):
        case.headers["Idempotency-Key"] = f"case-{number:08}"
    if number % 2:
        case.headers.pop("If-Match", None)  # nobody guesses it, and what is behind it would never be reached
    if case.path.endswith("/revoke") and str(case.path_parameters["token_id"]) == os.environ["TOKEN_ID"]:
        case.path_parameters["token_id"] = 1  # whoever revokes their own token learns nothing more
    if case.path.endswith("/events") and str(case.query.get("wait_seconds", "5")).isdigit():
        case.query["wait_seconds"] = 0
