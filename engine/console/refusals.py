"""What a person is told when something is refused: what it is in their language, and each wrong field in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import web

from engine.api.answering import REQUEST_ID
from engine.api.fields import AMOUNT, CODE, LINE, NAME
from engine.api.problems import Problem, WrongField, WrongFields, problem_of
from engine.console.language import N_, Language, translations
from engine.console.rendering import render
from engine.console.visits import Visit

FOR_PEOPLE: Mapping[str, str] = {
    "forbidden": N_("Your role, or what your token is limited to, does not allow this."),
    "internal": N_("A fault of ours; nothing was done."),
    "key-in-flight": N_("This is being done already; look again in a moment."),
    "malformed": N_("The form cannot be read; load the page again and send it once more."),
    "not-authenticated": N_("Your session has ended. Sign in again in another tab, come back and send this once more."),
    "not-found": N_("There is no such thing, or not any more."),
    "not-taken": N_("The custodian did not take the file, or does not answer."),
    "other-payload": N_("This form was sent before with other content; load the page again and send it once more."),
    "other-session": N_("You have signed in anew since this page was shown. Send it once more to do it now."),
    "out-of-range": N_("This leads to a day that no calendar has; correct the dates."),
    "refused-by-database": N_("A guard of the database refused it; nothing was done. Look again at what is there."),
    "refused-file": N_("The file cannot be taken; nothing of it was done."),
    "stale": N_("This has changed since you saw it. Load the page again, look at what changed, and decide anew."),
    "too-large": N_("What you sent is larger than is taken here."),
    "too-many-requests": N_("You have asked too often in this minute; wait a little and try again."),
    "too-slow": N_("The file did not come; nothing was done. Send it again."),
    "unavailable": N_("The database is away or busy; nothing was done. Try again in a moment."),
    "wrong-fields": N_("Some fields are missing, or not what they should be."),
}
"""By kind: what the API says to programs, as people want to hear it. Other kinds have their own title for both."""

_SAID_BY_TITLE = frozenset({"internal", "not-authenticated", "out-of-range", "unavailable"})
"""Kinds of which the API says nothing more to this person than the title does."""

_RULES: Mapping[str, str] = {
    "enum": N_("Choose one of those offered."),
    "extra_forbidden": N_("Nobody asks for this here."),
    "greater_than": N_("More than %(gt)s."),
    "greater_than_equal": N_("At least %(ge)s."),
    "int_parsing": N_("A whole number."),
    "less_than": N_("Less than %(lt)s."),
    "less_than_equal": N_("At most %(le)s."),
    "literal_error": N_("Choose one of those offered."),
    "missing": N_("Fill this in."),
    "string_too_long": N_("At most %(max_length)s characters."),
    "string_too_short": N_("At least %(min_length)s characters."),
    "too_long": N_("Choose at most %(max_length)s."),
    "too_short": N_("Choose at least %(min_length)s."),
}
"""By pydantic's name for what a field broke."""

_PATTERNS: Mapping[str, str] = {
    AMOUNT: N_("An amount like 12.50, not below zero."),
    CODE: N_("Small letters, digits and dashes."),
    LINE: N_("One line of text."),
    NAME: N_("Letters, digits and . _ @ -, with single spaces between."),
}

_VALUES: Mapping[str, str] = {
    "choose a file": N_("Choose a file."),
    "is given in two ways": N_("Fill in one of the two, not both."),
    "is neither true nor false": N_("Choose one of those offered."),
    "is no whole number": N_("A whole number."),
    "is not a day like 2019-07-14": N_("A day like 2019-07-14."),
    "is not a moment like 2019-07-14T09:00:00Z": N_("A moment like 2019-07-14T09:00:00Z."),
}
"""By what the API says of values that it looks at itself."""


_ABOVE_THE_PART = {"HX-Retarget": "#stale", "HX-Reswap": "innerHTML", "HX-Reselect": ".notice"}
"""Where htmx puts why a part of a page could not be shown anew: the part stays as it was, and is asked for again."""


class Wrong(NamedTuple):
    """A wrong field of a form. `path`: `breaks/ids/0`; `name`: what its words are known by; `text`: what to do."""

    path: str
    name: str
    text: str


@dataclass(frozen=True)
class Refusal:
    """What is shown. `detail`: what more the engine says, in English; `request`: for what is looked up in the log."""

    status: int
    kind: str
    title: str
    detail: str
    wrong: Sequence[Wrong]
    invariant: str | None
    request: str | None


def refusal_of(error: Exception, problem: Problem, language: Language, request: str) -> Refusal:
    """What to tell of an error and what the API would say of it. `request`: by which the log knows it."""
    said, invariant = translations(language).gettext, problem.more.get("invariant")
    detail = problem.detail.removesuffix(f" [{invariant}]")
    is_said = detail == problem.title or problem.kind in _SAID_BY_TITLE or isinstance(error, WrongFields)
    return Refusal(
        status=int(problem.status),
        kind=problem.kind,
        title=said(FOR_PEOPLE.get(problem.kind, problem.title)),
        detail="" if is_said else detail,
        wrong=[_in_words(each, language) for each in error.wrong] if isinstance(error, WrongFields) else (),
        invariant=invariant,
        request=request if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
    )


def _in_words(field: WrongField, language: Language) -> Wrong:
    """A pattern or a rule that nobody thought of stands as pydantic says it."""
    _, _, path = field.where.partition("/")
    name = next((part for part in reversed(path.split("/")) if not part.isdigit()), path)
    known = _RULES.get(field.rule) or _PATTERNS.get(str(field.limits.get("pattern"))) or _VALUES.get(field.what)
    text = translations(language).gettext(known) % field.limits if known else field.what
    return Wrong(path or field.where, name, text)


def refused(visit: Visit, error: Exception) -> web.Response:
    """A page that says why not; for htmx, which puts it into the form, a few lines."""
    problem = problem_of(error)
    refusal = refusal_of(error, problem, visit.language, visit.request[REQUEST_ID])
    if visit.is_part:
        # Any other status would be an error of the page's script to the browser, whose console nobody should fill.
        is_form = visit.request.method != "GET"
        told = render(visit, "refusal.html", {"refusal": refusal, "is_form": is_form}, status=HTTPStatus.OK)
        if not is_form:
            told.headers.extend(_ABOVE_THE_PART)
        return told
    response = render(visit, "error.html", {"refusal": refusal}, status=refusal.status)
    response.headers.extend(problem.headers)
    return response
