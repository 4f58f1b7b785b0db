"""Which names of a namespace are not a person's data: IPython's own, and secrets, which a whole capture leaves out.

A value with a secret somewhere inside is left out whole and named with the path, since a value without a part of it
would be another value. A cell that reads a secret by name gets it: leaving it out then would only break the cell. The
one trap: `token` and `key` are everyday words of data science, so a name alone condemns only text.
"""

from __future__ import annotations

import collections
import functools
import os
import re
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dure.state.objects import classes
from dure.state.objects.children import children
from dure.state.store.blobs import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dure.state.cut.pieces import Branches, Cut, Part
    from dure.state.grouping import Pickled

_IPYTHON = {"In", "Out", "exit", "quit", "get_ipython", "open"}
_IPYTHON |= {"_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh"}
_HISTORY = re.compile(r"_i?\d+|__\w+__|_exit_code")
_SECRET_NAME = re.compile(
    r"(?:passwords?|passwd|passphrases?|(?:api|access|private|secret|secret_?access)_?keys?|auth_?tokens?"
    r"|(?:^|_)(?P<everyday>token|secrets?|credentials?|bearer))($|_)",
    re.IGNORECASE,
)
_TOKENS = {  # what looks like an access key, by a mark that is found sooner
    "AKIA": r"AKIA[0-9A-Z]{16}",  # AWS
    "AIza": r"AIza[A-Za-z0-9_-]{35}",  # Google
    "_live_": r"[rs]k_live_[A-Za-z0-9]{16,}",  # Stripe
    "npm_": r"npm_[A-Za-z0-9]{36}",
    "pypi-": r"pypi-AgE[A-Za-z0-9_-]{30,}",
    "AccountKey=": r"AccountKey=[A-Za-z0-9+/=]{40,}",  # Azure
    "Bearer ": r"Bearer (?=[A-Za-z._~+/-]{0,60}[0-9])[A-Za-z0-9._~+/-]{20,}",
    "gh": r"gh[pousr]_[A-Za-z0-9]{30,}",
    "github_pat_": r"github_pat_[A-Za-z0-9_]{30,}",
    "glpat-": r"glpat-[A-Za-z0-9_-]{20,}",
    "hf_": r"hf_[A-Za-z0-9]{30,}",
    "sk-": r"(?<![A-Za-z]{2})sk-[A-Za-z0-9_-]{32,}",  # no task-of-many-words in an address
    "xox": r"xox[abprs]-[A-Za-z0-9-]{10,}",
    "PRIVATE KEY-----": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "eyJ": r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # a signed JSON web token
}
_SECRET_VALUE = re.compile("|".join(_TOKENS.values()))
_ADDRESS = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9._%+~-]*:([A-Za-z0-9._%+~!$*=-]{3,})@\S+"
)  # with a password
_IN_PICKLES = [(mark.encode(), re.compile(pattern.encode())) for mark, pattern in _TOKENS.items()]
_ADDRESS_IN_PICKLES = re.compile(rb"://[A-Za-z0-9._%+~-]*:[A-Za-z0-9._%+~!$*=-]{3,}@")
_WORDS = (b"passw", b"passphrase", b"secret", b"token", b"credential", b"bearer", b"basicauth")
_KEYS = (b"apikey", b"api_key", b"access_key", b"accesskey", b"private_key")
_ENVIRONMENT = (b"\x8c\x04PATH", b"\0PATH\0")  # the key of a copy of the environment, in a pickle and among texts
_TYPED = re.compile(r"^[ \t]*(\w+)\s*=\s*(?:getpass\s*\.\s*)?getpass\s*\(", re.MULTILINE)
_SECRET_WORDS = ("passw", "passphrase", "secret", "token", "key", "credential", "bearer")
# In a cell magic's text a line break is written as two letters, and quotes may have a backslash before them.
_WRITTEN_OUT = re.compile(
    r"""(?:(?<=\\n)|(?<![\\\w]))([A-Za-z_]\w*)\\?["']?\]?\s*(?::\s*\w+\s*)?[=:]\s*[rbuRBU]{0,2}\\?["']([^"'\\\n]{8,})"""
)
_IN_ENVIRONMENT = re.compile(r"""\b(?:env|set_env|export)["']?,?\s+["']?(\w+)[= ]\\?["']?([^"'\\\s{$][^"'\\\s]{7,})""")
_SHORT = 16 * 1024  # a longer text is a document, not a key
_RANDOM = 16  # characters
_FEW = 5  # environment variables
_LONG = 64 * 1024  # a longer pickle is remembered when nothing was found in it
_REMEMBERED = 10_000
_GIVEN = 8  # characters
_STEPS = 1_000_000
_CLEAN: set[str] = set()
_given: dict[str, str] = {}  # what the environment had under a secret's name when a whole capture began, and that name
_DATA = ("ndarray", "DataFrame", "Series", "Tensor")
_AGAIN = "set it again after the restore"
_ASIDE = "set it again after the restore, or keep the secret in a variable of its own"
_HOLDERS = frozenset(
    {
        "botocore.credentials.Credentials",
        "botocore.credentials.RefreshableCredentials",
        "boto3.session.Session",
        "botocore.session.Session",
        "google.oauth2.credentials.Credentials",
        "google.oauth2.service_account.Credentials",
        "paramiko.rsakey.RSAKey",
        "paramiko.ed25519key.Ed25519Key",
        "paramiko.ecdsakey.ECDSAKey",
        "requests.auth.HTTPBasicAuth",
        "pydantic.types.SecretStr",
        "pydantic.types.SecretBytes",
    }
)


def hidden(name: str, value: Any) -> bool:
    """Tell whether IPython or Python put the name there."""
    if name == "open":
        # IPython puts its own `open` into the namespace; a person's variable of that name is data
        return callable(value)
    return name in _IPYTHON or _HISTORY.fullmatch(name) is not None


def read_environment() -> None:
    """Take what the environment has under names of secrets for secrets from now on, wherever it stands."""
    given = {text: name for name, text in os.environ.items() if _is_secret(name, text) and _tells(text)}
    if given != _given:
        _given.clear()
        _given.update(given)
        _CLEAN.clear()


def _tells(text: str) -> bool:
    """Tell whether a text is found by chance nowhere else: no word such as `postgres`, no path of a file."""
    return len(text) >= _GIVEN and not text.isalpha() and not (text.startswith("/") and Path(text).exists())


def secret_reason(name: str, value: Any) -> str | None:
    """Return why a whole capture leaves the variable out, or None where it may be saved."""
    text = _text(value)
    if text is None:
        return None
    if given := next((which for each, which in _given.items() if each in text), None):
        return f"{name}: it holds the environment variable {given}, and secrets are not saved; {_AGAIN}"
    if _SECRET_NAME.search(name):
        return f"{name}: its name says that it is a secret, and secrets are not saved; {_AGAIN}"
    if _looks_secret(text):
        return f"{name}: it looks like an access key, and secrets are not saved; {_AGAIN}"
    return None


def typed_secrets(namespace: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that a cell of the history got from `getpass`, with the reason."""
    cells = namespace.get("In")
    names = {
        match[1]
        for cell in (cells if isinstance(cells, list) else ())
        if isinstance(cell, str) and "getpass" in cell
        for match in _TYPED.finditer(cell)
    }
    return {
        name: f"{name}: it was typed into getpass, and secrets are not saved; {_AGAIN}"
        for name in sorted(names)
        if _text(namespace.get(name)) is not None
    }


def secrets_inside(values: dict[str, Any], pickled: Pickled) -> dict[str, str]:
    """Return `path: reason` for each of the values that has a secret in it; `pickled` is their pickle.

    The pickle is searched first, of a long one the texts, at the speed of memory, since a secret in the containers and
    attributes of a value is a text in its pickle. Elements of arrays and columns of frames are data and are not looked
    at.
    """
    cut = frozenset(id(value) for each in pickled.cuts for value in each.values)
    named = any(_names_secrets(name) for name in values)
    found = _searched(pickled.stream, pickled.texts, lambda sure: _inside_all(values, sure=sure, cut=cut), named=named)
    for each in pickled.cuts:
        ways = {name: each.ways[id(value)] for name, value in values.items() if id(value) in each.ways}
        if not ways and not pickled.held.intersection(each.ways):  # it is held in a way that nobody knows
            ways = dict.fromkeys(values, "")
        most = _STEPS // min(max(len(each.parts), 1), 100)
        for part in each.parts if ways else ():
            if part.stream is not None and not part.searched and next(iter(ways)) not in found:
                inside = _inside_part(ways, each, part, most)
                part.searched = not inside
                found |= inside
    return found


def _inside_part(ways: dict[str, str], cut: Cut | Branches, part: Part, most: int) -> dict[str, str]:
    stream = part.stream or b""

    def inside(sure: bool) -> dict[str, str]:  # noqa: FBT001 - as it is called
        told = {name: _inside_all(cut.told(part, name + way), sure=sure, most=most) for name, way in ways.items()}
        return {name: next(iter(reasons.values())) for name, reasons in told.items() if reasons}

    return _searched(stream, lambda: stream, inside, named=False)


def _searched(
    stream: bytes, texts_of: Callable[[], bytes], inside: Callable[[bool], dict[str, str]], *, named: bool
) -> dict[str, str]:
    """Return what `inside` finds where pickle or name give reason to look, told whether there is a key for sure."""
    digest = digest_of(stream) if len(stream) > _LONG else ""
    if digest in _CLEAN and not named:
        return {}
    texts = texts_of() if digest else stream
    token = any(pattern.search(texts) for mark, pattern in _IN_PICKLES if mark in texts)
    token = token or any(text.encode(errors="surrogateescape") in texts for text in _given)
    named = named or (b"://" in texts and _ADDRESS_IN_PICKLES.search(texts) is not None)
    lowered = texts.lower()
    words = (*_WORDS, *(_KEYS if b"key" in lowered else ()))
    found = {}
    if token or named or any(key in texts for key in _ENVIRONMENT) or any(word in lowered for word in words):
        found = inside(token)
    if digest and not found and not named:
        if len(_CLEAN) >= _REMEMBERED:
            _CLEAN.clear()
        _CLEAN.add(digest)
    return found


def _inside_all(
    values: Mapping[str, Any], *, sure: bool, most: int = _STEPS, cut: frozenset[int] = frozenset()
) -> dict[str, str]:
    found = {name: _inside(name, value, sure=sure, most=most, cut=cut) for name, value in values.items()}
    return {name: reason for name, reason in found.items() if reason}


def _inside(name: str, value: Any, *, sure: bool, most: int, cut: frozenset[int]) -> str | None:
    seen = {id(value)}
    queue = collections.deque([(value, "", _names_secrets(name))])
    steps = 0
    while queue:
        current, path, named = queue.popleft()
        reason = _held(current)
        if reason is not None:
            return f"{name}{path}: {reason}; {_ASIDE}"
        if id(current) in cut or type(current).__name__ in _DATA or _elsewhere(current):
            continue
        for child, step in children(current):
            steps += 1
            if steps > most:
                return f"{name}: somewhere inside it is an access key, which is not saved; {_ASIDE}" if sure else None
            text = _text(child)
            if text is not None:
                if _named_secret(step, text) or _looks_secret(text) or (named and " " not in text):
                    return f"{name}{path}{step}: a secret, and secrets are not saved; {_ASIDE}"
            elif not isinstance(child, int | float | type(None) | str | bytes) and id(child) not in seen:
                seen.add(id(child))
                queue.append((child, path + step, named))
    return None


def _elsewhere(value: Any) -> bool:
    """Tell whether a value is saved as a name only."""
    return isinstance(value, types.ModuleType) or (
        isinstance(value, type | types.FunctionType) and classes.by_reference(value)
    )


def history_secrets(cells: list[str]) -> dict[int, str]:
    """Return the numbers of the cells whose text holds a secret, with the reason: what looks like an access key, and
    what is written out under a secret's name (`os.environ["API_KEY"] = "…"`), also when the name is gone by now.
    """
    reasons = ((number, _reason_in(cell)) for number, cell in enumerate(cells))
    return {number: f"In[{number}]: {reason}" for number, reason in reasons if reason}


@functools.lru_cache(maxsize=1 << 16)  # a save looks at all cells, which do not change
def _reason_in(cell: str) -> str:
    if _looks_secret(cell):
        return "its text holds what looks like an access key, and secrets are not saved"
    if "://" in cell and _ADDRESS.search(cell):
        return "its text holds an address with a password, and secrets are not saved"
    lowered = cell.lower()
    if any(word in lowered for word in _SECRET_WORDS):
        for pattern in (_WRITTEN_OUT, _IN_ENVIRONMENT):
            for name, text in pattern.findall(cell):
                if _is_secret(name, text):
                    return f"its text holds {name}, and secrets are not saved"
    return ""


def masked(code: str) -> str:
    """Return code with "…" for each secret that is written out in it, line for line; "" where it holds a private key,
    which has many lines.
    """
    if not _reason_in(code):
        return code
    if "PRIVATE KEY-----" in code:
        return ""
    for pattern in (_WRITTEN_OUT, _IN_ENVIRONMENT):
        code = pattern.sub(_masked, code)
    code = _ADDRESS.sub(lambda found: found[0].replace(found[1], "…"), code)
    return _SECRET_VALUE.sub("…", code)


def _masked(found: re.Match[str]) -> str:
    return found[0].removesuffix(found[2]) + "…" if _is_secret(found[1], found[2]) else found[0]


def _text(value: Any) -> str | None:
    """Return a short text, the only thing that a secret is."""
    if type(value) not in (str, bytes) or not value or len(value) > _SHORT:
        return None
    return value if isinstance(value, str) else value.decode("latin-1")


def _looks_secret(text: str) -> bool:
    return (
        (any(mark in text for mark in _TOKENS) and _SECRET_VALUE.search(text) is not None)
        or ("://" in text and _ADDRESS.fullmatch(text) is not None)
        or any(each in text for each in _given)
    )


def _names_secrets(name: str) -> bool:
    """Tell whether all texts in a variable of this name are secrets: `passwords`, `api_key`; not `password_rules`."""
    match = _SECRET_NAME.search(name) if name.isidentifier() else None
    return match is not None and match["everyday"] is None and match.end() == len(name)


def _named_secret(step: str, text: str) -> bool:
    key = step[2:-2] if step.startswith("['") else step[1:]
    return " " not in text and _is_secret(key, text)


def _is_secret(name: str, text: str) -> bool:
    match = _SECRET_NAME.search(name)
    if match is None:
        return False
    # a word under "token" is language; what is long and has digits among letters is a key
    return match["everyday"] is None or (
        len(text) >= _RANDOM and any(map(str.isdigit, text)) and any(map(str.isalpha, text))
    )


def _held(value: Any) -> str | None:
    """Return why the value itself is a secret."""
    if isinstance(value, dict) and len(value) >= _FEW:
        shared = sum(value.get(key) == text for key, text in os.environ.items())
        if shared >= _FEW and shared * 2 > len(os.environ):
            return "a copy of the environment variables, which may hold keys"
    kind = type(value)
    held = f"{kind.__module__}.{kind.__qualname__}" in _HOLDERS
    return "credentials, which are not saved" if held else None
