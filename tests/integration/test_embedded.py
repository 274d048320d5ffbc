"""The embedded servers as their users meet them: real processes, started, shared, killed and left."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import asyncpg
import pytest
from arq import create_pool
from arq.connections import RedisSettings
from redis import Redis
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from engine.store.embedded import Embedded, EmbeddedServerError, servers, start, status, stop
from engine.store.embedded import postgres as postgres_module
from engine.store.embedded.account import Account
from engine.store.embedded.memory import memory_mib
from engine.store.embedded.postgres import Postgres

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 20

USER = """
import os, signal, sys
from pathlib import Path
from engine.store.embedded import start
signal.signal(signal.SIGINT, signal.default_int_handler)
embedded = start(Path(os.environ["DATA_DIR"]))
print(embedded.database_url, embedded.redis_url, flush=True)
sys.stdin.read()
embedded.close()
"""
"""A process that uses both servers until its input ends; it hears an interrupt even where the tests run deaf to it."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


class User:
    """A process of its own that uses the servers of `data_dir`."""

    def __init__(self, data_dir: Path, **options: object) -> None:
        environment = {**os.environ, "DATA_DIR": str(data_dir)}
        arguments: dict[str, object] = {"args": [sys.executable, "-c", USER], "env": environment, "cwd": "/", **options}
        self.said = ""
        self.process = subprocess.Popen(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **arguments)  # type: ignore[call-overload]

    def urls(self) -> Embedded:
        """Waits for them; what is logged before goes to `said`."""
        while not (line := self.process.stdout.readline()).startswith("postgresql"):
            assert line, "it ended"
            self.said += line
        database_url, redis_url = line.split()
        return Embedded(database_url, redis_url, {}, Path())

    def leave(self) -> int:
        self.process.stdin.close()
        self.process.stdout.read()
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.stdin.close()
        self.wait()

    def wait(self) -> int:
        self.process.stdout.close()
        return int(self.process.wait(DEADLINE_SECONDS))


@contextmanager
def user(data_dir: Path, **options: object) -> Iterator[User]:
    one = User(data_dir, **options)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.kill()


def running(folder: Path) -> dict[int, str]:
    """Processes at work in `folder`, keepers included: pid to command."""
    folders = {folder.resolve(), (folder / "postgres").resolve()}
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            at = process.joinpath("cwd").readlink()
            command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode()
            # One without a command line has given up its memory: it is on its way out, and runs nothing any more.
            if command and any(at.is_relative_to(each) for each in folders):
                found[int(process.name)] = command
        except OSError:
            continue
    return found


def keepers(folder: Path) -> list[int]:
    return [pid for pid, command in running(folder).items() if "engine.store.embedded" in command]


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()[0])


def socket_folder(database_url: str) -> Path:
    return Path(str(make_url(database_url).query["host"]))


def eventually(holds: Callable[[], object]) -> None:
    """Wait until `holds()`; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def ask(database_url: str, *statements: str) -> object:
    """Run `statements`; the first value of the last."""
    url = make_url(database_url)
    connection = await asyncpg.connect(host=url.query["host"], port=5432, user=url.username, database=url.database)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder whose cluster exists; tests take turns with it."""
    data_dir = tmp_path_factory.mktemp("embedded") / ".fentan"
    with servers(data_dir):
        pass
    yield data_dir
    shutil.rmtree((data_dir / "postgres").resolve())


@pytest.fixture
def data_dir(made_once: Path) -> Iterator[Path]:
    """A data folder whose servers do not run, neither before the test nor after it."""
    yield made_once
    left = running(made_once)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == {}


async def test_sqlalchemy_and_arq_connect_and_nothing_is_left_running(data_dir: Path) -> None:
    with servers(data_dir) as embedded:
        engine = create_async_engine(embedded.database_url)
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT current_user || '@' || current_database()"))).scalar() == (
                "fentan@fentan"
            )
        await engine.dispose()
        pool = await create_pool(RedisSettings.from_dsn(embedded.redis_url))
        assert await pool.ping()
        await pool.aclose()
        with Redis.from_url(embedded.redis_url) as redis:
            assert redis.config_get("save", "appendonly", "maxmemory-policy") == {
                "save": "",
                "appendonly": "no",
                "maxmemory-policy": "noeviction",
            }
        assert status(data_dir) == {"postgres": True, "valkey": True}
    assert status(data_dir) == {"postgres": False, "valkey": False}
    assert running(data_dir) == {}


async def test_settings_of_the_server(data_dir: Path) -> None:
    expected = {
        "fsync": "on",
        "synchronous_commit": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "jit": "off",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "15min",
    }
    with servers(data_dir, valkey=False) as embedded:
        found = {name: await ask(embedded.database_url, f"SHOW {name}") for name in expected}
        buffers = await ask(embedded.database_url, "SELECT pg_size_bytes(current_setting('shared_buffers'))")
    assert found == expected
    assert buffers == min(max(memory_mib() // 4, 128), 2048) * 2**20


def test_only_what_is_asked_for_is_started(data_dir: Path) -> None:
    with servers(data_dir, postgres=False) as embedded:
        assert embedded.database_url == ""
        assert status(data_dir) == {"postgres": False, "valkey": True}
        with servers(data_dir, valkey=False) as also:
            assert also.redis_url == ""
            assert status(data_dir) == {"postgres": True, "valkey": True}
        assert status(data_dir) == {"postgres": False, "valkey": True}


async def test_the_log_holds_no_rows(data_dir: Path) -> None:
    with servers(data_dir, valkey=False) as embedded:
        await ask(embedded.database_url, "DROP TABLE IF EXISTS people", "CREATE TABLE people (name text PRIMARY KEY)")
        for _ in range(2):
            try:
                await ask(embedded.database_url, "INSERT INTO people VALUES ('Zhang San')")
            except asyncpg.UniqueViolationError:
                break
        else:
            pytest.fail("the second was taken")
    log = (data_dir / "log" / "postgres.log").read_text()
    assert "duplicate key" in log
    assert "Zhang" not in log


async def test_two_processes_share_the_servers_and_the_last_one_out_stops_them(data_dir: Path) -> None:
    with user(data_dir) as first, user(data_dir) as second:
        assert first.urls() == second.urls()
        server = postmaster(data_dir)
        assert first.leave() == 0
        with servers(data_dir) as embedded:
            assert await ask(embedded.database_url, "SELECT 1") == 1
        assert postmaster(data_dir) == server
        assert second.leave() == 0
    assert running(data_dir) == {}


def test_many_who_start_at_once_get_one_server(tmp_path: Path) -> None:
    users = [User(tmp_path / "data") for _ in range(5)]
    try:
        assert len({one.urls().database_url for one in users}) == 1
        assert len(keepers(tmp_path)) == 2
    finally:
        left = [one.leave() for one in users]
    assert left == [0] * 5
    assert running(tmp_path) == {}


def test_a_user_who_starts_while_the_servers_stop_gets_new_ones(data_dir: Path) -> None:
    for _ in range(3):
        with user(data_dir) as first, user(data_dir) as second:
            first.urls()
            first.process.stdin.close()
            assert second.urls().database_url
            assert (first.wait(), second.leave()) == (0, 0)


def test_servers_stop_after_their_only_user_was_killed(data_dir: Path) -> None:
    with user(data_dir) as killed:
        killed.urls()
        assert running(data_dir)
        killed.kill()
        eventually(lambda: not running(data_dir))


def test_servers_stop_though_their_only_user_was_killed_while_they_started(data_dir: Path) -> None:
    with user(data_dir) as killed:
        eventually(lambda: keepers(data_dir))
        killed.kill()
        eventually(lambda: not running(data_dir))


def test_servers_outlive_an_interrupt_from_the_terminal(data_dir: Path) -> None:
    with user(data_dir, start_new_session=True) as interrupted, servers(data_dir):
        interrupted.urls()
        os.killpg(interrupted.process.pid, signal.SIGINT)
        interrupted.process.stdin.close()
        assert interrupted.wait() != 0
        assert len(keepers(data_dir)) == 2
        assert {os.getsid(pid) for pid in running(data_dir)}.isdisjoint({os.getsid(0), interrupted.process.pid})


async def test_data_outlive_the_death_of_everyone(data_dir: Path) -> None:
    with user(data_dir) as killed:
        await ask(killed.urls().database_url, "CREATE TABLE kept AS SELECT 7 AS answer", "SELECT 1")
        for pid in running(data_dir):
            os.kill(pid, signal.SIGKILL)
        killed.kill()
    with servers(data_dir) as embedded:
        assert await ask(embedded.database_url, "SELECT answer FROM kept") == 7
        assert Redis.from_url(embedded.redis_url, single_connection_client=True).ping()


async def test_a_server_whose_keeper_was_killed_is_adopted(data_dir: Path) -> None:
    with user(data_dir) as first:
        first.urls()
        orphan = postmaster(data_dir)
        for pid in keepers(data_dir):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not keepers(data_dir))
        with servers(data_dir) as embedded:
            assert postmaster(data_dir) == orphan
            assert await ask(embedded.database_url, "SELECT 1") == 1
        assert running(data_dir) == {}


async def test_a_server_that_died_is_started_again(data_dir: Path) -> None:
    with servers(data_dir):
        os.kill(dead := postmaster(data_dir), signal.SIGKILL)
        eventually(lambda: not status(data_dir)["postgres"])
        with servers(data_dir, valkey=False) as embedded:
            assert postmaster(data_dir) != dead
            assert await ask(embedded.database_url, "SELECT 1") == 1


async def test_a_user_brings_back_what_it_lost_and_is_counted_again(data_dir: Path) -> None:
    with servers(data_dir) as embedded:
        assert embedded.lost() == []
        kept = postmaster(data_dir)
        for pid in keepers(data_dir):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: embedded.lost() == ["postgres", "valkey"])
        embedded.bring_back("valkey")
        assert embedded.lost() == ["postgres"]
        embedded.bring_back("postgres")
        assert (embedded.lost(), postmaster(data_dir)) == ([], kept)
        with servers(data_dir) as other:
            assert other.database_url == embedded.database_url
        assert await ask(embedded.database_url, "SELECT 1") == 1
    assert running(data_dir) == {}


async def test_a_start_waits_for_the_last_backend_of_a_killed_server(data_dir: Path) -> None:
    with servers(data_dir) as embedded:
        busy = asyncio.create_task(ask(embedded.database_url, "SELECT count(*) FROM generate_series(1, 15000000)"))
        working = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%series%' AND pid <> pg_backend_pid()"
        while not await ask(embedded.database_url, working):
            pass
        os.kill(postmaster(data_dir), signal.SIGKILL)
        eventually(lambda: not status(data_dir)["postgres"])
        with servers(data_dir, valkey=False) as again:
            assert await ask(again.database_url, "SELECT 1") == 1
        await asyncio.gather(busy, return_exceptions=True)


async def test_a_pid_file_that_names_a_stranger_is_no_hindrance(data_dir: Path) -> None:
    with servers(data_dir, valkey=False) as embedded:
        pid_file = data_dir / "postgres" / "data" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    sockets = socket_folder(embedded.database_url)
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    sockets.joinpath(".s.PGSQL.5432.lock").write_text("\n".join([str(os.getpid()), *lines[1:5]]) + "\n")
    with servers(data_dir, valkey=False) as embedded:
        assert await ask(embedded.database_url, "SELECT 1") == 1


def test_stop_ends_the_servers_under_their_users(data_dir: Path) -> None:
    with user(data_dir) as one:
        one.urls()
        stop(data_dir)
        assert running(data_dir) == {}
        assert one.leave() == 0
    stop(data_dir)


def test_a_server_that_does_not_start_says_why(data_dir: Path) -> None:
    settings = data_dir / "postgres" / "data" / "postgresql.conf"
    good = settings.read_text()
    settings.write_text(good + "\nno_such_setting = 1\n")
    try:
        with pytest.raises(EmbeddedServerError, match="no_such_setting"), servers(data_dir):
            pytest.fail("it started")
    finally:
        settings.write_text(good)
    assert running(data_dir) == {}
    with servers(data_dir):
        pass


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedServerError, match="file"):
        start(tmp_path / "file" / "data")


@pytest.mark.parametrize("name", ["long" * 40, "互助 100%?#"])
async def test_a_path_no_socket_can_have(tmp_path: Path, name: str) -> None:
    data_dir = tmp_path / name
    with servers(data_dir) as embedded, servers(data_dir) as again:
        assert again.database_url == embedded.database_url
        sockets = socket_folder(embedded.database_url)
        assert stat.S_IMODE(permissions(sockets)[sockets][0]) == 0o700
        assert await ask(embedded.database_url, "SELECT 1") == 1
        assert Redis.from_url(embedded.redis_url, single_connection_client=True).ping()
    shutil.rmtree(sockets)


def permissions(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode, owner and group of `folder` and all above it."""
    found = {each: each.stat() for each in (folder, *folder.parents)}
    return {each: (one.st_mode, one.st_uid, one.st_gid) for each, one in found.items()}


@contextmanager
def folder_of(uid: int) -> Iterator[Path]:
    """A folder of `uid` (0700) with a short path that `uid` can get to."""
    folder = Path(tempfile.mkdtemp())
    os.chown(folder, uid, uid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


async def test_a_folder_only_its_owner_can_enter_keeps_its_permissions() -> None:
    with folder_of(os.geteuid()) as private:
        before = permissions(private)
        with servers(private / ".fentan") as embedded:
            assert await ask(embedded.database_url, "SELECT 1") == 1
        assert permissions(private) == before
        inside = [private / ".fentan", *(path for path in private.joinpath(".fentan").iterdir() if path.is_dir())]
        assert {path.stat().st_mode & 0o077 for path in inside} == {0}


def python_for(uid: int) -> str | None:
    """An interpreter like ours that `uid` can run and that finds this checkout and its packages."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    check = ["-c", "import asyncpg, engine.store.embedded"]
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            run = subprocess.run([python, *check], user=uid, cwd="/", env=open_environment(), capture_output=True)  # noqa: PLW1510
        except OSError:
            continue
        if run.returncode == 0:
            return python
    return None


def nobody() -> tuple[int, int]:
    """User and group of `nobody`."""
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def open_environment() -> MappingProxyType[str, str]:
    return MappingProxyType({"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})


@as_root
def test_an_ordinary_user_runs_the_servers_as_themselves() -> None:
    uid = pwd.getpwnam("nobody").pw_uid
    python = python_for(uid)
    if python is None:
        pytest.skip("no interpreter that an ordinary user can reach")
    with folder_of(uid) as home:
        before = permissions(home)
        environment = {**open_environment(), "DATA_DIR": str(home / ".fentan")}
        with user(home, args=[python, "-c", USER], user=uid, group=uid, extra_groups=[], env=environment) as one:
            assert str(home) in one.urls().database_url
            assert {Path(f"/proc/{pid}").stat().st_uid for pid in running(home)} == {uid}
            assert one.leave() == 0
        assert running(home) == {}
        assert permissions(home) == before


@pytest.fixture
def no_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where `unshare --user` is refused."""
    tmp_path.joinpath("unshare").write_text("#!/bin/sh\nexit 1\n")
    tmp_path.joinpath("unshare").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@as_root
@pytest.mark.usefixtures("no_namespaces")
async def test_without_namespaces_root_runs_it_as_nobody_elsewhere() -> None:
    with folder_of(0) as private:
        before = permissions(private)
        for expected in (1, 2):
            with user(private / ".fentan") as one:
                database_url = one.urls().database_url
                assert "embedded_server_runs_elsewhere" in one.said
                home = private.joinpath(".fentan", "postgres").resolve()
                assert str(home) in one.said
                assert not home.is_relative_to(private)
                assert permissions(home)[home] == (stat.S_IFDIR | 0o700, *nobody())
                statements = ["CREATE TABLE IF NOT EXISTS kept (n int)", "INSERT INTO kept VALUES (1)"]
                assert await ask(database_url, *statements, "SELECT count(*) FROM kept") == expected
                assert one.leave() == 0
            assert running(home) == {}
        assert permissions(private) == before
        shutil.rmtree(home)
        with pytest.raises(EmbeddedServerError, match="is gone"):
            start(private / ".fentan")


@as_root
@pytest.mark.usefixtures("no_namespaces")
async def test_without_namespaces_root_runs_it_as_nobody_in_place_where_all_may_enter() -> None:
    with folder_of(0) as home:
        home.chmod(0o755)
        before = permissions(home)
        for _ in range(2):
            with servers(home / ".fentan", valkey=False) as embedded:
                assert str(home) in embedded.database_url
                assert await ask(embedded.database_url, "SELECT 1") == 1
                assert (home / ".fentan" / "postgres").owner() == "nobody"
        assert permissions(home) == before


@as_root
async def test_a_cluster_follows_the_account_that_can_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with folder_of(0) as home:
        home.chmod(0o755)
        with servers(home / ".fentan", valkey=False) as embedded:
            await ask(embedded.database_url, "CREATE TABLE kept AS SELECT 7 AS answer", "SELECT 1")
        for path in ("/nowhere", os.environ["PATH"]):
            monkeypatch.setenv("PATH", path)
            with servers(home / ".fentan", valkey=False) as embedded:
                assert await ask(embedded.database_url, "SELECT answer FROM kept") == 7


@as_root
def test_binaries_out_of_reach_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(postgres_module, "server_account", lambda: Account((), nobody.pw_uid, nobody.pw_gid, True))
    with folder_of(0) as home:
        home.chmod(0o755)
        server = Postgres(home)
        monkeypatch.setattr(postgres_module, "open_to_all", lambda _: False)
        copied = server._binaries()
        assert copied.is_relative_to(home / "postgres")
        for program in ("postgres", "initdb"):
            command = [str(copied / program), "--version"]
            assert b" 18." in subprocess.check_output(command, user=nobody.pw_uid, group=nobody.pw_gid, cwd="/")
