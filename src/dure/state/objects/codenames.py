"""The made-up file names of cells' code: `/tmp/ipykernel_PID/HASH.py` in a kernel, `<cell HASH>` in what is saved.

In a kernel the code needs ipykernel's own name, by which the debugger finds its lines. In what is saved the name must
be the same in every process, or a restored function would look changed. The trap: ipykernel's file is there only while
the debugger asks, so nothing here looks for it.
"""

from __future__ import annotations

import re
import types

_LIVE = re.compile(r".*[\\/]ipykernel_\d+[\\/](\d+)\.py")
_KEPT = re.compile(r"<cell (\d+)>")
_folder = ""


def name_cells_in(folder: str) -> None:
    """Have code that is loaded from now on go by names in `folder`, this kernel's; "" where it is no kernel."""
    global _folder  # noqa: PLW0603 - of this process, as ipykernel's own
    _folder = folder


def kept_name(name: str) -> str:
    """Return the name under which code of the file `name` is saved."""
    found = _LIVE.fullmatch(name)
    return name if found is None else f"<cell {found[1]}>"


def live_name(kept: str) -> str:
    """Return the file name that code saved under the name `kept` has here."""
    found = _KEPT.fullmatch(kept) if _folder else None
    return kept if found is None else f"{_folder}/{found[1]}.py"


def renamed(code: types.CodeType, name: str) -> types.CodeType:
    """Return the code, and that of what it defines, as of the file `name`."""
    if code.co_filename == name:
        return code
    consts = tuple(renamed(each, name) if isinstance(each, types.CodeType) else each for each in code.co_consts)
    return code.replace(co_filename=name, co_consts=consts)
