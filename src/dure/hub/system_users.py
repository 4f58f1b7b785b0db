"""An operating-system account for each person, for `dure up --system-users`: made on demand, by root, on Linux.

Touches the machine's account database with useradd, groupadd and usermod. Trap: it must never take over an
account that it did not make. The mark of its own making is the account's comment, which names the state
folder; any other is refused.
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PREFIX = "dure-"
TEAM_PREFIX = "dure-team-"
ACCOUNT_CHARS_MAX = 32
COMMAND_TIMEOUT_S = 30.0


class SystemUserError(RuntimeError):
    """An account cannot be made or used; the text says which, why, and what to type."""


@dataclass(frozen=True)
class SystemUser:
    """The account that a person's workspace and jobs run as."""

    account: str
    uid: int
    gid: int
    home: Path


def slug(name: str, chars_max: int) -> str:
    """Return `name` as account names allow it; a short hash tells apart what that makes equal."""
    plain = re.sub(r"[^a-z0-9_-]", "-", name.lower())
    if plain == name and len(plain) <= chars_max:
        return plain
    return f"{plain[: chars_max - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def shared_home(state_dir: Path, user: str) -> Path:
    """Return the home of a person where all share one account: `homes/<name>`, whatever characters the name has."""
    return state_dir / "homes" / (user if re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", user) else slug(user, 64))


def account_name(user: str) -> str:
    """Return the account of a person, such as `dure-alice`."""
    return PREFIX + slug(user, ACCOUNT_CHARS_MAX - len(PREFIX))


def team_group(team: str) -> str:
    """Return the group that reaches a team's blobs, such as `dure-team-vision`."""
    return TEAM_PREFIX + slug(team, ACCOUNT_CHARS_MAX - len(TEAM_PREFIX))


def check_possible(python: str) -> None:
    """Raise SystemUserError unless accounts can be made here and could run `python`."""
    if os.geteuid() != 0:
        raise SystemUserError("--system-users needs root, to act as each person. Type: sudo dure up --system-users")
    missing = [tool for tool in ("useradd", "groupadd", "usermod") if shutil.which(tool) is None]
    if missing:
        raise SystemUserError(
            f"--system-users needs {', '.join(missing)}, which this machine lacks."
            " On Debian type: apt-get install passwd"
        )
    closed = first_closed(Path(python))
    if closed is not None:
        raise SystemUserError(
            f"Other accounts cannot reach Dure's Python, because {closed} is closed to them."
            f" Install Dure where all can read it (such as /opt/dure), or type: chmod o+x {closed}"
        )


def first_closed(path: Path) -> Path | None:
    """Return the first folder on the way to `path` (and to what it links to) that other accounts cannot pass."""
    for end in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100 - abspath keeps the link's own way
        for folder in reversed(end.parents):
            if not folder.stat().st_mode & 0o001:
                return folder
    return None


def ensure(user: str, state_dir: Path, teams: Iterable[str]) -> SystemUser:
    """Return the person's account, made or checked, with a home of mode 0700 and in exactly its teams' groups."""
    account = account_name(user)
    home = state_dir / "homes" / account
    comment = f"Dure workspace {slug(user, 32)} in {state_dir}"
    if any(sign in comment for sign in ":\n"):
        raise SystemUserError(
            f"The state folder {state_dir} has ':' in its name, which accounts cannot record. Type: dure up --dir"
        )
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        run("useradd", "--user-group", "--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash",
            "--comment", comment, account)  # fmt: skip
        entry = pwd.getpwnam(account)
    if entry.pw_gecos != comment or entry.pw_uid == 0:
        raise SystemUserError(
            f"There is an account {account} on this machine that this Dure did not make (its comment is"
            f" {entry.pw_gecos!r}), so nothing was started as it. Rename or remove it, or call {user} otherwise here."
        )
    make_home(home, entry)
    groups = sorted({ensure_group(team) for team in teams})
    run("usermod", "--groups", ",".join(groups), account)
    return SystemUser(account, entry.pw_uid, entry.pw_gid, home)


def make_home(home: Path, entry: pwd.struct_passwd) -> None:
    """Make the home; refuse one that is a link or belongs to somebody else."""
    home.parent.mkdir(parents=True, exist_ok=True)
    home.parent.chmod(0o711)
    if not home.is_symlink() and not home.exists():
        home.mkdir(mode=0o700)
        os.chown(home, entry.pw_uid, entry.pw_gid)
    about = home.lstat()
    if home.is_symlink() or about.st_uid != entry.pw_uid:
        raise SystemUserError(f"{home} should belong to {entry.pw_name} and does not. Move it away and start again.")
    home.chmod(0o700)


def ensure_group(team: str) -> str:
    """Return the team's group, made if needed; refuse one that has members which Dure did not put there."""
    name = team_group(team)
    try:
        members = grp.getgrnam(name).gr_mem
    except KeyError:
        run("groupadd", name)
        return name
    strangers = [member for member in members if not member.startswith(PREFIX)]
    if strangers:
        raise SystemUserError(
            f"The group {name} has members that Dure did not put there ({', '.join(strangers)})."
            " Rename it, then start again."
        )
    return name


def run(*argv: str) -> None:
    """Run one account tool; SystemUserError with its own words when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise SystemUserError(f"{argv[0]} failed for {argv[-1]}: {done.stderr.strip() or done.returncode}")
