"""What a form carries that only a page of the same session can."""

from __future__ import annotations

import re

from engine.access.secret import digest_of, new_secret
from engine.access.sessions import csrf_of, is_csrf


def test_a_form_is_of_its_own_session() -> None:
    mine, theirs = new_secret(), new_secret()
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", csrf_of(mine))
    assert is_csrf(mine, csrf_of(mine))
    assert not any(is_csrf(mine, given) for given in ("", csrf_of(theirs), csrf_of(mine)[:-1], mine, "表单", "\ud800"))


def test_it_does_not_give_the_secret_away() -> None:
    assert csrf_of("secret") == csrf_of("secret")
    assert "secret" not in csrf_of("secret")
    assert digest_of("secret") != digest_of("secret ")
    assert len(digest_of("\ud800")) == 32
