"""The Python client of Fentan's HTTP API: `async with Client(url, token) as client`. It needs no database."""

from __future__ import annotations

from engine.client.client import Client
from engine.client.problems import ApiProblem, JobFailed, ProofBroken, Unreachable, WrongField
from engine.client.transport import Event

__all__ = ["ApiProblem", "Client", "Event", "JobFailed", "ProofBroken", "Unreachable", "WrongField"]
