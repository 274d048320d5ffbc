"""Under which account PostgreSQL runs: it refuses to be root, and needs an account that has a name."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from engine.store.embedded.server import EmbeddedServerError


@dataclass(frozen=True)
class Account:
    """How a process is started so that PostgreSQL is content, and who then owns its files."""

    prefix: tuple[str, ...]
    """Goes before the command."""
    uid: int
    """Owner of its files as seen from here."""
    gid: int
    switched: bool = False
    """Whether it is another account than ours, for which folders must be open that ours needs not."""


def _named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def server_account() -> Account:
    """The caller's own account if PostgreSQL takes it; else its own under another name; else, for root, `nobody`.

    A user namespace maps the caller to an account that is neither root nor nameless (initdb asks for the name), and
    nothing on disk changes: the files belong to the caller. Where namespaces are refused (most containers), root can
    still become `nobody`. Raises EmbeddedServerError.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and _named(uid):
        return Account((), uid, gid)
    others = sorted(entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0)
    name = 1000 if 1000 in others else next(iter(others), 1000)
    prefix = ("unshare", "--user", f"--map-user={name}")
    if others and _works([*prefix, "true"]):
        return Account(prefix, uid, gid)
    if uid != 0:
        raise EmbeddedServerError(
            f"PostgreSQL needs an account with a name and user {uid} has none; add one to /etc/passwd, or set "
            "FENTAN_DATABASE_URL to a server of your own"
        )
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerError(
            "PostgreSQL refuses to run as root, `unshare --user` is refused here and there is no account `nobody`; "
            "run as an ordinary user, or set FENTAN_DATABASE_URL to a server of your own"
        ) from None
    return Account((), nobody.pw_uid, nobody.pw_gid, switched=True)


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def open_to_all(path: Path) -> bool:
    """Whether any account can get to `path`."""
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def give(top: Path, account: Account) -> None:
    """Make everything under `top` belong to `account`; nothing is touched where it does already."""
    if top.stat().st_uid == account.uid:
        return
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            os.chown(Path(folder) / name, account.uid, account.gid, follow_symlinks=False)
    os.chown(top, account.uid, account.gid)  # last, so that an interrupted gift is made again
