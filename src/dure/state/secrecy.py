"""Which names of a namespace are not a person's data: IPython's own, and secrets, which a whole capture
leaves out.

A cell that reads a secret by name gets it: leaving it out then would only break the cell. The one trap:
`token` and `key` are everyday words of data science, so a name alone condemns only text.
"""

from __future__ import annotations

import re
from typing import Any

_IPYTHON = {
    "In",
    "Out",
    "exit",
    "quit",
    "get_ipython",
    "open",
    "_",
    "__",
    "___",
    "_i",
    "_ii",
    "_iii",
    "_ih",
    "_oh",
    "_dh",
}
_HISTORY = re.compile(r"_i?\d+|__\w+__|_exit_code")
_SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|secret_key|token|api_?key|apikey|access_?key|private_?key"
    r"|credentials?|auth_token|bearer)($|_)",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"AKIA[0-9A-Z]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}"
    r"|glpat-[A-Za-z0-9_-]{20,}"
    r"|hf_[A-Za-z0-9]{30,}"
    r"|sk-[A-Za-z0-9_-]{32,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"  # a signed JSON web token
)
_SHORT = 16 * 1024  # a longer text is a document, not a key


def hidden(name: str, value: Any = None) -> bool:
    """Tell whether IPython or Python put the name there."""
    if name == "open":
        # IPython puts its own `open` into the namespace; a person's variable of that name is data
        return callable(value)
    return name in _IPYTHON or _HISTORY.fullmatch(name) is not None


def secret_reason(name: str, value: Any) -> str | None:
    """Return why a whole capture leaves the variable out, or None where it may be saved."""
    if not isinstance(value, str | bytes) or not value or len(value) > _SHORT:
        return None
    text = value if isinstance(value, str) else value.decode("latin-1")
    if _SECRET_NAME.search(name):
        return f"{name}: its name says that it is a secret, and secrets are not saved; set it again after the restore"
    if _SECRET_VALUE.search(text):
        return f"{name}: it looks like an access key, and secrets are not saved; set it again after the restore"
    return None
