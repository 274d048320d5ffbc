"""Exports: a run's reconciliation, or an account's over some days, written into files by a worker and handed out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engine.access.roles import EVERYONE, FINANCE
from engine.api.downloads import MEDIA_TYPE, download
from engine.api.endpoint import Endpoints
from engine.api.fields import Code, Day, Digest, Id, Model
from engine.api.jobs import JobView, asked
from engine.api.service import Call, Streamed
from engine.custodian.registered import custodian_of
from engine.errors import InvalidInput, NotFound
from engine.jobs.job import Job, Kind, State, job_of
from engine.jobs.kinds import export_folder
from engine.reconcile.exports.folder import Format
from engine.runs.run import load_run

endpoints = Endpoints("exports", "Reconciliations as files for other programs and for auditors.")


class RunOfExport(Model):
    """The run."""

    run_id: Id


class AccountOfExport(Model):
    """The custodian whose account it is."""

    custodian: Code


class RunExport(Model):
    """How it is written. A table too long for that is written as Parquet."""

    format: Format = Format.CSV


class AccountExport(RunExport):
    """Over which days, and how it is written."""

    first: Day
    last: Day


class OfExport(Model):
    """An export, by the number of its job."""

    job_id: Id


class OfExportedFile(OfExport):
    """One file of an export."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]{1,40}\.[a-z0-9]{1,10}$")]


class ExportedFile(Model):
    """A file of an export."""

    name: str
    bytes: int
    sha256: Digest


class ExportedTable(Model):
    """A table of an export, the file it stands in, and the sums of its amounts, in major units."""

    table: str
    name: str
    rows: int
    totals: dict[str, str]


class ExportView(Model):
    """What an export holds."""

    job_id: int
    about: str
    format: Format
    tables: list[ExportedTable]
    files: list[ExportedFile]


@endpoints.post("/runs/{run_id}/exports", FINANCE, status=202)
async def export_run(call: Call, params: RunOfExport, body: RunExport) -> JobView:
    """Write down everything about a sealed run's reconciliation; a worker does it."""
    run = await load_run(call.connection, params.run_id)
    return await asked(call, Kind.EXPORT, run.name, {"run_id": run.run_id, "format": body.format.value})


@endpoints.post("/custodians/{custodian}/exports", FINANCE, status=202)
async def export_account(call: Call, params: AccountOfExport, body: AccountExport) -> JobView:
    """Write down everything about a custodian's account over some days; a worker does it."""
    if body.first > body.last:
        raise InvalidInput(f"the days from {body.first} to {body.last}: the first is after the last")
    custodian = await custodian_of(call.connection, params.custodian)
    days = {"first": body.first.isoformat(), "last": body.last.isoformat()}
    detail = {"custodian": custodian.code, "format": body.format.value, **days}
    return await asked(call, Kind.EXPORT, f"custodian:{custodian.code}", detail)


@endpoints.get("/exports/{job_id}/files", EVERYONE)
async def show_export(call: Call, params: OfExport) -> ExportView:
    """The files of an export that is done, with their hashes, and what is in each."""
    job = await _export(call, params.job_id)
    assert job.outcome is not None
    return ExportView(
        job_id=job.job_id,
        about=job.outcome["of"],
        format=Format(job.outcome["format"]),
        tables=[
            ExportedTable(table=each["table"], name=each["file"], rows=each["rows"], totals=each["totals"])
            for each in job.outcome["tables"]
        ],
        files=_files(job),
    )


@endpoints.get("/exports/{job_id}/files/{name}", FINANCE, media_type=MEDIA_TYPE)
async def download_export(call: Call, params: OfExportedFile) -> Streamed:
    """One file of an export."""
    job = await _export(call, params.job_id)
    for each in _files(job):
        if each.name == params.name:
            path = export_folder(call.service.settings.data_dir, job.job_id) / each.name
            return await download(call, path, each.name, sha256=each.sha256, size_bytes=each.bytes)
    raise NotFound(f"the export {job.job_id} has no file {params.name}")


async def _export(call: Call, job_id: int) -> Job:
    """The job of an export that is done. Raises NotFound, InvalidInput while it is not done."""
    job = await job_of(call.connection, job_id)
    if job.kind is not Kind.EXPORT:
        raise NotFound(f"job {job_id} is no export")
    if job.state is not State.DONE:
        raise InvalidInput(f"the export {job_id} is {job.state}; /v1/jobs/{job_id} says more")
    return job


def _files(job: Job) -> list[ExportedFile]:
    assert job.outcome is not None
    files = job.outcome["files"]
    return [ExportedFile(name=each["file"], bytes=each["bytes"], sha256=each["sha256"]) for each in files]
