"""Where the platform is and who we are there: the environment of a workspace, the file that `dure login` wrote, or the
folder of a platform that this account runs.

The trap: the file holds a token, so it is written with mode 0600 and never shown.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dure.client.errors import failure


@dataclass(frozen=True, slots=True)
class Login:
    """A platform's address, such as `http://127.0.0.1:8000/services/dure`, and the token to call it with."""

    url: str
    token: str = field(repr=False)
    source: Literal["environment", "file", "folder"] = "environment"


def find_login(environ: Mapping[str, str] | None = None, lang: str | None = None) -> Login:
    """Return the login of this process: the environment's, else the file's, else that of the platform that this account
    runs.

    Raises DureError `not_configured` when there is none, `login_needed` where one runs with a Hub, at which people sign
    in, `config_unreadable` when the file cannot be used.
    """
    environ = os.environ if environ is None else environ
    lang = lang or language(environ)
    url = environ.get("DURE_URL", "").rstrip("/")
    token = environ.get("DURE_TOKEN") or environ.get("JUPYTERHUB_API_TOKEN") or ""
    if url and token:
        return Login(url, token, "environment")
    kept = _read(config_path(environ), lang)
    if url and (kept is None or kept.url != url):
        return Login(url, "", "environment")  # the server answers with the sentence that says how to sign in
    return kept or _running(platform_folder(environ), lang)


def save_login(url: str, token: str, environ: Mapping[str, str] | None = None) -> Path:
    """Write the login file, readable by its owner only, and return its path. Raises DureError `target_unwritable`."""
    path = config_path(environ)
    text = f"# written by `dure login`\nurl = {_quoted(url.rstrip('/'))}\ntoken = {_quoted(token)}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # mkstemp makes it 0600 from its first byte; the rename makes it whole or absent.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".login-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError as error:
        raise failure(
            "target_unwritable",
            language(environ),
            path=str(path),
            problem=error.strerror or "no reason given",
        ) from error
    return path


def forget_login(environ: Mapping[str, str] | None = None) -> bool:
    """Remove the login file; return whether there was one."""
    path = config_path(environ)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return where the login file is: `$XDG_CONFIG_HOME/dure/config.toml`, by default below `~/.config`."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home(), ".config"))
    return Path(home, "dure", "config.toml")


def platform_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return where a platform that this account runs keeps its state: `$DURE_DIR`, by default `~/.dure`."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("DURE_DIR") or Path(environ.get("HOME") or Path.home(), ".dure"))


def language(environ: Mapping[str, str] | None = None) -> str:
    """Return "ko" or "en": DURE_LANG, else the locale's variables in their order of precedence."""
    environ = os.environ if environ is None else environ
    for name in ("DURE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environ.get(name, "")
        if value:
            return "ko" if value.lower().startswith("ko") else "en"
    return "en"


def _running(folder: Path, lang: str) -> Login:
    from dure.worker.processes import alive

    try:
        about = json.loads((folder / "lock").read_text(encoding="utf-8"))
        url = str(about["link"]).rstrip("/")
        if url and alive(about["pid"], about["start_ticks"]):
            if about["hub"]:
                raise failure("login_needed", lang, url=url)
            return Login(url, (folder / "token").read_text(encoding="utf-8").strip(), "folder")
    except (OSError, ValueError, TypeError, KeyError):  # there is none, it ends, or it is another account's
        pass
    raise failure("not_configured", lang)


def _read(path: Path, lang: str) -> Login | None:
    try:
        kept = tomllib.loads(path.read_text(encoding="utf-8"))
        return Login(str(kept["url"]).rstrip("/"), str(kept["token"]), "file")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except KeyError as error:
        raise failure("config_unreadable", lang, path=str(path), problem=f"{error.args[0]} is missing") from error
    except OSError as error:
        problem = error.strerror or "it cannot be read"
        raise failure("config_unreadable", lang, path=str(path), problem=problem) from error
    except ValueError as error:
        raise failure("config_unreadable", lang, path=str(path), problem=str(error)) from error


def _quoted(text: str) -> str:
    """JSON's text form is a TOML basic string; DEL is the one character that TOML alone wants escaped."""
    return json.dumps(text, ensure_ascii=True).replace("\x7f", "\\u007f")
