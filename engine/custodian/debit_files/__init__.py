"""Files that ask a custodian for debits."""

from __future__ import annotations

from engine.custodian.debit_files.batch import SCHEMA, Batch
from engine.custodian.debit_files.files import Files, Rewritten, write
from engine.custodian.debit_files.manifest import Manifest

__all__ = ["SCHEMA", "Batch", "Files", "Manifest", "Rewritten", "write"]
