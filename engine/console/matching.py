"""Two sides of a break: what stands on suspense, and what our instructions still ask; what is left between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.api.break_views import AskedView, BreakView, CandidateView, Dossier, Suggestions
from engine.money import to_major

_DONE = ("booked", "settled", "written off")
_PAID_OUT = ("refund", "payout")


@dataclass(frozen=True)
class Other:
    """Another break on the side of the statement."""

    view: BreakView
    is_chosen: bool

    @property
    def minor(self) -> int:
        """What of it stands on suspense, in minor units."""
        return self.view.suspense

    @property
    def amount(self) -> str:
        """The same as text."""
        return to_major(self.minor)


@dataclass(frozen=True)
class Debit:
    """A debit on our side that the line might be of."""

    view: CandidateView
    is_chosen: bool

    @property
    def name(self) -> str:
        """As a page names it."""
        return f"{self.view.run_id}-{self.view.seat}"

    @property
    def minor(self) -> int:
        """What it asks for."""
        return self.view.amount

    @property
    def amount(self) -> str:
        """The same as text."""
        return to_major(self.minor)


@dataclass(frozen=True)
class Match:
    """What is put together. Amounts are minor units, credits positive.

    `own_minor`: what of the break stands on suspense; `asked_minor`: what the instruction it is about still asks for.
    """

    break_id: int
    own_minor: int
    asked: AskedView | None
    asked_minor: int
    others: tuple[Other, ...]
    debits: tuple[Debit, ...]

    @property
    def also(self) -> list[int]:
        """The other breaks that are chosen."""
        return [each.view.break_id for each in self.others if each.is_chosen]

    @property
    def ids(self) -> list[int]:
        """All that are chosen."""
        return [self.break_id, *self.also]

    @property
    def debit(self) -> CandidateView | None:
        """The debit that is chosen."""
        return next((each.view for each in self.debits if each.is_chosen), None)

    @property
    def left_minor(self) -> int:
        """What stays unexplained."""
        here = self.own_minor + sum(each.minor for each in self.others if each.is_chosen)
        return here - self.asked_minor - sum(each.minor for each in self.debits if each.is_chosen)

    @property
    def own(self) -> str:
        """`own_minor` as text."""
        return to_major(self.own_minor)

    @property
    def still_asked(self) -> str:
        """`asked_minor` as text."""
        return to_major(self.asked_minor)

    @property
    def left(self) -> str:
        """`left_minor` as text, without its sign."""
        return to_major(abs(self.left_minor))


def matched(
    found: Dossier,
    others: Sequence[BreakView],
    suggested: Suggestions | None,
    *,
    also: Sequence[int],
    debit: str | None,
) -> Match:
    """The two sides of a break. `also`: the others that are chosen; `debit`: the run and seat of the one that is."""
    asked, asked_minor = found.asked, 0
    if asked is not None and asked.state not in _DONE:
        asked_minor = -asked.amount if found.kind in _PAID_OUT else asked.amount
    candidates = [] if suggested is None else suggested.candidates
    return Match(
        found.break_id,
        found.suspense,
        asked,
        asked_minor,
        tuple(Other(each, each.break_id in also) for each in others),
        tuple(Debit(each, f"{each.run_id}-{each.seat}" == debit) for each in candidates),
    )
