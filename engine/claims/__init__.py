"""Claims: from filing through public notice and objections to the share run that carries them."""

from __future__ import annotations

from engine.claims.claims import Claim, Notice, claim_of, claims_of, count_claims
from engine.claims.decisions import Cover, file, pass_, pass_due, publish, reject, withdraw
from engine.claims.history import Decision, history
from engine.claims.objections import Objection, object_to, objections_to, resolve
from engine.claims.sharing import Passed, claims_in, passed_claims, release, share, shared
from engine.claims.stages import bill
from engine.claims.states import ClaimRefused, Event, State

__all__ = [
    "Claim",
    "ClaimRefused",
    "Cover",
    "Decision",
    "Event",
    "Notice",
    "Objection",
    "Passed",
    "State",
    "bill",
    "claim_of",
    "claims_in",
    "claims_of",
    "count_claims",
    "file",
    "history",
    "object_to",
    "objections_to",
    "pass_",
    "pass_due",
    "passed_claims",
    "publish",
    "reject",
    "release",
    "resolve",
    "share",
    "shared",
    "withdraw",
]
