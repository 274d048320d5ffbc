"""Every refusal says what to do, those of the web framework as well."""

from __future__ import annotations

import pytest
from aiohttp import web

from engine.api.problems import Problem, kind_of, problem_of
from engine.errors import NotFound


@pytest.mark.parametrize(
    ("error", "kind", "to_do"),
    [
        (web.HTTPNotFound(), "not-found", "/v1/reference shows what there is"),
        (web.HTTPMethodNotAllowed("PUT", ["GET", "HEAD"]), "method-not-allowed", "the header Allow says"),
    ],
)
def test_it_says_what_to_do(error: web.HTTPException, kind: str, to_do: str) -> None:
    problem = problem_of(error)
    assert (problem.kind, problem.status) == (kind, error.status)
    assert to_do in problem.detail


def test_one_type_has_one_title() -> None:
    nowhere, nobody = problem_of(web.HTTPNotFound()), problem_of(NotFound("there is no run 7"))
    assert isinstance(nowhere, Problem)
    assert (nowhere.kind, nowhere.title) == (nobody.kind, nobody.title) == (kind_of(NotFound), nowhere.title)
