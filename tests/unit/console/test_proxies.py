"""Where a request comes from is what trusted proxies say, and nobody else."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from engine.console.proxies import client_address
from engine.settings import load_settings


@pytest.mark.parametrize(
    ("trusted", "connected", "forwarded", "address"),
    [
        ("", "203.0.113.7", [], "203.0.113.7"),
        ("", "10.0.0.1", ["198.51.100.9"], "10.0.0.1"),
        ("10.0.0.0/8", "203.0.113.7", ["198.51.100.9"], "203.0.113.7"),
        ("10.0.0.0/8", "10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.0/8", "10.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.0/8", "10.0.0.1", ["192.0.2.1, 198.51.100.9"], "198.51.100.9"),
        ("10.0.0.0/8", "10.0.0.1", ["192.0.2.1", "198.51.100.9, 10.0.0.2"], "198.51.100.9"),
        ("10.0.0.0/8", "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("127.0.0.1, ::1", "::1", ["2001:db8::5"], "2001:db8::5"),
        ("127.0.0.1", "::ffff:127.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("10.0.0.0/8", "10.0.0.1", ["somebody"], "somebody"),
        ("10.0.0.0/8", "", ["198.51.100.9"], ""),
    ],
)
def test_whom_a_request_comes_from(trusted: str, connected: str, forwarded: list[str], address: str) -> None:
    headers = CIMultiDict(("X-Forwarded-For", each) for each in forwarded)
    request = make_mocked_request("GET", "/share", headers=headers).clone(remote=connected)
    settings = load_settings().model_copy(update={"trusted_proxies": trusted})
    assert client_address(request, settings) == address
