"""How long whoever failed to sign in waits, and whom a stranger's failures keep out."""

from __future__ import annotations

import pytest

from engine.access.attempts import wait_after, who_tries


def test_waits_double_up_to_a_minute() -> None:
    waits = [wait_after(failures).total_seconds() for failures in range(12)]
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert wait_after(10**6).total_seconds() == 60


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (("anna", "192.0.2.1"), ("anna", "192.0.2.1"), True),
        (("anna", "192.0.2.1"), ("anna", "192.0.2.2"), False),
        (("anna", "192.0.2.1"), ("bo", "192.0.2.1"), False),
        (("anna", "2001:db8:7::1"), ("anna", "2001:db8:7:ffff::2"), True),
        (("anna", "2001:db8:7::1"), ("anna", "2001:db8:8::1"), False),
        (("anna", "::ffff:192.0.2.1"), ("anna", "::ffff:192.0.2.2"), False),
        (("anna", "fe80::1%eth0"), ("anna", "fe80::2%eth1"), True),
        (("anna", ""), ("anna", "a socket"), True),
        (("anna", ""), ("bo", ""), False),
    ],
)
def test_who_is_counted_together(one: tuple[str, str], other: tuple[str, str], together: bool) -> None:
    assert (who_tries(*one) == who_tries(*other)) is together


def test_any_text_can_be_tried() -> None:
    assert len(who_tries("\ud800", "\ud800")) == 32
