"""The names of files that are still under way."""

from __future__ import annotations

UNFINISHED = (".part", ".tmp", ".filepart")
"""How they end; who takes files lets them be."""
