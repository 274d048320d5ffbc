"""Debit batches: the files that custodians are asked with, what is in each, and whether it left."""

from __future__ import annotations

from engine.access.roles import EVERYONE, FINANCE
from engine.api.downloads import MEDIA_TYPE, download
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Digest, Id, Model, Moment, Money, Numbered, Page, Paged
from engine.api.service import Call, Streamed
from engine.custodian.outbox import FileKind, FileState, OutgoingFile, file_of, list_files
from engine.custodian.registered import custodian_of

endpoints = Endpoints("batches", "The files of instructions that custodians are asked with.")


class OfBatch(Model):
    """One file of instructions."""

    batch_id: Id


class BatchFilter(Paged):
    """Which files of a custodian. `run_id`: of refunds the decision's number, of calls the call's."""

    custodian: Code
    after: Numbered = None
    run_id: Id | None = None
    kind: FileKind | None = None
    state: FileState | None = None


class BatchView(Model):
    """A file of instructions. `subject`: what asks, as run:7, refund:3, auto-top-up:5 or levy:4, and how often so far.

    `reference`: what the custodian knows the file by; `error`: why it has not left yet.
    """

    batch_id: int
    custodian: str
    kind: FileKind
    subject: str
    attempt: int
    number: int
    debit_on: Day
    reference: str
    file: str
    sha256: Digest
    bytes: int
    count: int
    total: Money
    state: FileState
    sent_at: Moment | None
    withdrawn_at: Moment | None
    tries: int
    error: str | None


def _view(each: OutgoingFile) -> BatchView:
    return BatchView(
        batch_id=each.batch_id,
        custodian=each.custodian,
        kind=each.of,
        subject=each.subject,
        attempt=each.attempt,
        number=each.number,
        debit_on=each.debit_on,
        reference=each.reference,
        file=each.file,
        sha256=each.sha256,
        bytes=each.bytes,
        count=each.count,
        total=each.amount_minor,
        state=each.state,
        sent_at=each.sent_at,
        withdrawn_at=each.withdrawn_at,
        tries=each.tries,
        error=each.error,
    )


@endpoints.get("/custodians/{custodian}/batches", EVERYONE)
async def list_of_batches(call: Call, params: BatchFilter) -> Page[BatchView]:
    """The files made for a custodian, the latest first."""
    found = await list_files(
        call.connection,
        await custodian_of(call.connection, params.custodian),
        run_id=params.run_id,
        kind=params.kind,
        state=params.state,
        before=int(params.after) if params.after else None,
        limit=params.limit + 1,
    )
    return call.page(found, params.limit, _view, lambda each: each.batch_id)


@endpoints.get("/batches/{batch_id}", EVERYONE)
async def show_batch(call: Call, params: OfBatch) -> BatchView:
    """One file of instructions."""
    return _view(await file_of(call.connection, params.batch_id))


@endpoints.get("/batches/{batch_id}/file", FINANCE, media_type=MEDIA_TYPE)
async def download_batch(call: Call, params: OfBatch) -> Streamed:
    """The file itself, with its members' accounts; the audit log says who took it."""
    each = await file_of(call.connection, params.batch_id)
    path = call.service.desk.folder(each.custodian, "debits") / each.file
    subject = f"batches/{each.batch_id}"
    return await download(call, path, each.file, sha256=each.sha256, size_bytes=each.bytes, subject=subject)
