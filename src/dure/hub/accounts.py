"""Who may sign in here without an outside login: invited people, their one-time links and their passwords.

Kept in `<state>/hub/accounts.sqlite` (mode 0600), read by the Hub's login and written by `dure up` and `dure user …`.
Trap: a link's token exists in clear only in what `create_link` returns; the file holds its SHA-256, so it
cannot be shown again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

LINK_VALID_S = 24 * 3600.0
PASSWORD_CHARS_MIN = 10
PASSWORD_CHARS_MAX = 1024
FAILURES_MAX = 5
FAILURES_WINDOW_S = 300.0
ATTEMPTS_KEPT_MAX = 10_000
NAME_CHARS_KEPT = 64

# OWASP's scrypt advice of 2023: N=2^15, r=8, p=3 (32 MiB, about 0.2 s on one core).
SCRYPT_COST, SCRYPT_BLOCK, SCRYPT_LANES = 2**15, 8, 3
SCRYPT_MEMORY_BYTES = 64 * 1024 * 1024

MEMBERS_FILE = "members.json"
EVERYONE = "*"

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,31}")

SCHEMA = """
create table if not exists accounts (
  name text primary key, admin integer not null default 0, invited integer not null default 0,
  teams text not null default '[]', password text, created_at real not null);
create table if not exists links (
  digest text primary key, name text not null, expires_at real not null, used_at real);
create table if not exists failures (name text not null, at real not null);
create index if not exists failures_by_name on failures (name, at);
"""


class AccountError(ValueError):
    """Something about an account was asked that cannot be done; the text says what to do instead."""


@dataclass(frozen=True)
class Account:
    """One person as the sign-in page knows them."""

    name: str
    admin: bool
    invited: bool
    teams: tuple[str, ...]


def check_name(name: str) -> str:
    """Return the name in the one form that is used everywhere; AccountError when it cannot be a user name."""
    lowered = name.strip().lower()
    if not NAME.fullmatch(lowered):
        message = (
            f"{name!r} cannot be a user name: use 1 to 32 lower-case letters, digits, '.', '_' or '-',"
            " beginning with a letter."
        )
        raise AccountError(message)
    return lowered


def create_link(
    state_dir: Path,
    user: str,
    *,
    admin: bool = False,
    teams: Iterable[str] = (),
    valid_s: float = LINK_VALID_S,
    now_s: float | None = None,
) -> str:
    """Invite `user` (or let them in again) and return the secret of a link that works once until `valid_s` from now.

    `admin` and `teams` are added to what the account already has. Open it as `<address>/hub/link?token=<secret>`.
    """
    name = check_name(user)
    now = time.time() if now_s is None else now_s
    token = secrets.token_urlsafe(32)
    with opened(state_dir) as db:
        row = db.execute("select admin, teams from accounts where name = ?", (name,)).fetchone()
        kept = set(json.loads(row[1])) if row else set()
        db.execute(
            "insert into accounts (name, admin, invited, teams, created_at) values (?, ?, 1, ?, ?)"
            " on conflict (name) do update set admin = excluded.admin, invited = 1, teams = excluded.teams",
            (name, int(admin or bool(row and row[0])), json.dumps(sorted(kept | set(teams))), now),
        )
        db.execute("delete from links where expires_at < ? or used_at is not null", (now,))
        db.execute("insert into links values (?, ?, ?, null)", (digest(token), name, now + valid_s))
    return token


def use_link(state_dir: Path, token: str, *, now_s: float | None = None) -> str | None:
    """Return whom the link signs in, and spend it; None when it is unknown, spent or too old."""
    now = time.time() if now_s is None else now_s
    key = digest(token)
    with opened(state_dir) as db:
        # One statement decides, so that two browsers opening the link at once cannot both get in.
        spent = db.execute(
            "update links set used_at = ? where digest = ? and used_at is null and expires_at >= ?", (now, key, now)
        )
        if spent.rowcount != 1:
            return None
        name: str = db.execute("select name from links where digest = ?", (key,)).fetchone()[0]
        db.execute("delete from failures where name = ?", (name,))
        return name


def link_user(state_dir: Path, token: str, *, now_s: float | None = None) -> str | None:
    """Return whom the link would sign in, without spending it."""
    now = time.time() if now_s is None else now_s
    with opened(state_dir) as db:
        row = db.execute(
            "select name from links where digest = ? and used_at is null and expires_at >= ?", (digest(token), now)
        ).fetchone()
    return row[0] if row else None


def set_password(state_dir: Path, user: str, password: str) -> None:
    """Set the password of an account, making the account when a member has none; AccountError when it is too
    short.
    """
    name = check_name(user)
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        message = (
            f"A password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters; this one has {len(password)}."
        )
        raise AccountError(message)
    hashed = hash_password(password)
    with opened(state_dir) as db:
        db.execute(
            "insert into accounts (name, password, created_at) values (?, ?, ?)"
            " on conflict (name) do update set password = excluded.password",
            (name, hashed, time.time()),
        )
        db.execute("delete from failures where name = ?", (name,))


def begin_attempt(state_dir: Path, user: str, *, now_s: float | None = None) -> float:
    """Count one look at a password of the user before it is looked at; `verify` forgets it when it was the right one.

    Return 0.0, or how many seconds the user must wait: then nothing was counted and the password must not be looked
    at. Check and count are one transaction, so that many attempts at once are no more than the same one by one.
    """
    now = time.time() if now_s is None else now_s
    name = user[:NAME_CHARS_KEPT]
    with opened(state_dir) as db:
        recent = db.execute(
            "select at from failures where name = ? and at > ? order by at desc limit ?",
            (name, now - FAILURES_WINDOW_S, FAILURES_MAX),
        ).fetchall()
        if len(recent) >= FAILURES_MAX:
            return max(0.0, float(recent[-1][0]) + FAILURES_WINDOW_S - now)
        db.execute("insert into failures values (?, ?)", (name, now))
        db.execute(
            "delete from failures where at < ? or rowid <= (select max(rowid) from failures) - ?",
            (now - FAILURES_WINDOW_S, ATTEMPTS_KEPT_MAX),
        )
    return 0.0


def verify(state_dir: Path, user: str, password: str) -> bool:
    """Return whether this is the user's password. Takes the same time for names that do not exist.

    Call `begin_attempt` first: it counts, and too many close the door for a while.
    """
    with opened(state_dir) as db:
        row = db.execute("select password from accounts where name = ?", (user,)).fetchone()
    right = check_password(password[:PASSWORD_CHARS_MAX], row[0] if row and row[0] else UNKNOWN)
    right = right and bool(row and row[0])
    if right:
        with opened(state_dir) as db:
            db.execute("delete from failures where name = ?", (user[:NAME_CHARS_KEPT],))
    return right


def find(state_dir: Path, user: str) -> Account | None:
    """Return the account of that name, or None."""
    return next((account for account in list_accounts(state_dir) if account.name == user), None)


def list_accounts(state_dir: Path) -> list[Account]:
    """Return all accounts by name. Members of the platform file who never signed in have none."""
    with opened(state_dir) as db:
        rows = db.execute("select name, admin, invited, teams from accounts order by name").fetchall()
    return [Account(r[0], bool(r[1]), bool(r[2]), tuple(json.loads(r[3]))) for r in rows]


def remove(state_dir: Path, user: str) -> bool:
    """Take the account, its password and its links away; False when there was none. The Hub notices within a
    minute.
    """
    with opened(state_dir) as db:
        db.execute("delete from links where name = ?", (user,))
        return db.execute("delete from accounts where name = ?", (user,)).rowcount == 1


@dataclass(frozen=True)
class Members:
    """Who the platform file names: team to members, and administrators."""

    teams: Mapping[str, Sequence[str]]
    admins: Sequence[str] = ()


def write_teams(state_dir: Path, teams: Mapping[str, Iterable[str]], admins: Iterable[str] = ()) -> None:
    """Record the teams (name to members) of a valid platform file, for the Hub's next sign-in or refresh.

    Called by `dure up` and again whenever the control plane has reloaded the file; replaced in one step.
    """
    path = hub_dir(state_dir) / MEMBERS_FILE
    found = {"teams": {team: sorted(set(members)) for team, members in teams.items()}, "admins": sorted(set(admins))}
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
    temporary.replace(path)


def read_members(state_dir: Path) -> Members:
    """Return what `write_teams` wrote last; nobody when nothing was."""
    try:
        found = json.loads((state_dir / "hub" / MEMBERS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Members({})
    return Members(found["teams"], found["admins"])


def teams_of(state_dir: Path, user: str) -> list[str]:
    """Return the user's teams, sorted: those of the platform file and those of their invitation.

    A team with the member `*` is everybody's who is signed in.
    """
    account = find(state_dir, user)
    listed = {team for team, members in read_members(state_dir).teams.items() if {user, EVERYONE} & set(members)}
    return sorted(listed | set(account.teams if account else ()))


def may_enter(state_dir: Path, user: str) -> bool:
    """Return whether this name is in the platform file, as member or administrator, or was invited.

    The member `*` lets nobody in: it stands for everyone who is signed in, and signing in takes an invitation
    (`dure user add NAME`), a password that an invited person has set, or an `authenticator` that knows the person.
    """
    if user == EVERYONE:
        return False
    account = find(state_dir, user)
    if account and account.invited:
        return True
    members = read_members(state_dir)
    return user in members.admins or any(user in team for team in members.teams.values())


def hash_password(password: str) -> str:
    """Return `scrypt$<salt>$<hash>` in hex, with a fresh salt."""
    salt = secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${stretch(password, salt).hex()}"


def check_password(password: str, stored: str) -> bool:
    """Return whether the password gives the stored hash, in time that does not depend on how wrong it is."""
    _, salt, expected = stored.split("$")
    return hmac.compare_digest(stretch(password, bytes.fromhex(salt)).hex(), expected)


def stretch(password: str, salt: bytes) -> bytes:
    """Return scrypt (RFC 7914) of the password: 32 bytes."""
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=SCRYPT_COST,
        r=SCRYPT_BLOCK,
        p=SCRYPT_LANES,
        maxmem=SCRYPT_MEMORY_BYTES,
        dklen=32,
    )


# What a name without a password is compared with: right shape, and no password gives it.
UNKNOWN = f"scrypt${'00' * 16}${'00' * 32}"


def digest(token: str) -> str:
    """Return the form in which a link's secret is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def hub_dir(state_dir: Path) -> Path:
    """Return `<state>/hub`, made for its owner alone."""
    path = state_dir / "hub"
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


@contextmanager
def opened(state_dir: Path) -> Iterator[sqlite3.Connection]:
    """Open the account file inside one transaction: all of the block is written, or none."""
    path = hub_dir(state_dir) / "accounts.sqlite"
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    with closing(sqlite3.connect(path, timeout=10.0)) as db, db:
        db.executescript(SCHEMA)
        db.execute("begin immediate")
        yield db
