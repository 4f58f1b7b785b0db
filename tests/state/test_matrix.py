"""Every kind of the fidelity matrix is restored in another process or named, and docs/FIDELITY.md says which."""

import contextlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest

from dure.state import FolderBlobs, capture
from dure.wire.retold import retold
from tests.state.matrix import ROWS as PLAIN_ROWS
from tests.state.matrix_altered import ALTERED_ROWS
from tests.state.matrix_identity import IDENTITY_ROWS
from tests.state.matrix_libraries import LIBRARY_ROWS
from tests.state.matrix_memory import MEMORY_ROWS
from tests.state.matrix_pythons import PYTHONS_ROWS
from tests.state.matrix_shared import SHARED_ROWS
from tests.state.matrix_strangers import STRANGERS_ROWS

ROWS = [
    *PLAIN_ROWS,
    *STRANGERS_ROWS,
    *ALTERED_ROWS,
    *IDENTITY_ROWS,
    *MEMORY_ROWS,
    *SHARED_ROWS,
    *PYTHONS_ROWS,
    *LIBRARY_ROWS,
]


def _is_here(needs):
    if needs.startswith("Python "):
        return sys.version_info >= tuple(map(int, needs.removeprefix("Python ").split(".")))
    return not needs or importlib.util.find_spec(needs) is not None


HERE = [row for row in ROWS if _is_here(row.needs)]

pytestmark = pytest.mark.xdist_group("matrix")  # which is made once, not once in each process
PAGE = Path(__file__).parents[2] / "docs" / "FIDELITY.md"

RESTORE = """
import json, sys, warnings
warnings.simplefilter('ignore')
from dure.state import FolderBlobs, Snapshot, restore
blobs = FolderBlobs(sys.argv[1])
answers = []
for digest, check in json.load(sys.stdin):
    scope = {'__name__': '__main__', '__builtins__': __builtins__}
    try:
        report = restore(Snapshot.load(digest, blobs), blobs, into=scope)
        answers.append(report.failed or bool(eval(check, scope)))
    except BaseException as error:
        answers.append(repr(error))
json.dump(answers, open(sys.argv[2], 'w'))
"""


def _saved(row, blobs):
    """Return the snapshot of the row's namespace."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(row.source, "<cell>", "exec"), scope)
        snapshot = capture(scope, blobs=blobs)
    for name in snapshot.unsaved:
        if hasattr(scope[name], "close"):
            with contextlib.suppress(Exception):
                scope[name].close()
    return snapshot


def outcomes(folder):
    """Return for every row that can be tried here what is wrong (None where all is well), and the reason of what is
    named.
    """
    blobs = FolderBlobs(folder / "store")
    snapshots = [_saved(row, blobs) for row in HERE]
    asked = [
        (number, snapshot.store(blobs), row.check)
        for number, (row, snapshot) in enumerate(zip(HERE, snapshots, strict=True))
        if row.check is not None
    ]
    done = subprocess.run(
        [sys.executable, "-c", RESTORE, str(folder / "store"), str(folder / "answers.json")],
        input=json.dumps([item[1:] for item in asked]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = dict(
        zip((item[0] for item in asked), json.loads((folder / "answers.json").read_text("utf-8")), strict=True)
    )
    found = []
    for number, (row, snapshot) in enumerate(zip(HERE, snapshots, strict=True)):
        reason = snapshot.unsaved.get("x")
        wrong: Any = None
        if row.check is None:
            wrong = None if reason else "it was saved, though it cannot be"
            if reason and not reason.startswith(row.reason):
                wrong = reason
        elif answers[number] is not True:
            wrong = reason or answers[number]
        found.append((row, wrong, reason))
    return found


def page(found):
    """Return docs/FIDELITY.md; what needs a library says what is declared, so that it is the same page everywhere."""
    restored = sum(row.check is not None for row in ROWS)
    reasons = {(row.section, row.kind): reason for row, _, reason in found}
    lines = [
        "# What a snapshot keeps",
        "",
        f"{len(ROWS)} kinds of object, each made as a notebook makes it, saved, and looked at in another process:",
        f"{restored} come back as they were, {len(ROWS) - restored} cannot be saved by anyone and are named with the",
        "reason. None blocks the rest of the notebook, and none of these is silently altered. Written from",
        "`tests/state/matrix*.py` by `python -m tests.state.test_matrix`; a test holds that it is up to date.",
        "The kinds of PyTorch, JAX, Arrow, pint, plotly, statsmodels and sympy are tried where those are installed,",
        "those of newer Pythons than 3.11 where it is one.",
        "",
        "A variable that is what an imported module has under a name (`from config import SETTINGS`, `pd.options`)",
        "is the module's own again, and so is that inside other objects (`self.settings = config.SETTINGS`). Of a",
        "person's own modules so is what is inside that (`config.TABLE['a']`, `Model.shared`; four steps deep,",
        "4,000 objects). What was changed in a dict, list or set is put back in it, unless the module's file has",
        "changed since; an instance that differs from the module's comes back as a copy, as does what is in a",
        "circle with other objects. Both are told at the restore. Not told is a copy of what is inside something of",
        "an installed package, or of one of Python's own (`package.TABLE['a']`, `package.Class.shared`), and of",
        "what Python's own have under a name with `_`.",
        "",
        "What is no part of a value, and not kept: whether texts, numbers, tuples or frozen sets",
        "that are equal are one object or several (`is` between two variables; a NaN is always the same object",
        "again); what a number was the `id` of; what `functools.cache` has computed, which is computed again.",
        "",
        "What libraries leave out of their own pickles and raise for when it is asked: the data of a contour set",
        "(`ax.contour(c)` of one that came back), the file tables of a PIL picture (`quantization`, `tag_v2`).",
        "",
        "What a cell at its top level registered with a library (JAX, ABCs, accessors, matplotlib), or set on its",
        "classes and modules, comes back with a session; what does not is named with its cell. Not found is what no",
        "cell says itself: what a function registers that it calls, an attribute whose name is computed, `exec`,",
        "`%run` (`tests/state/test_registered.py`).",
    ]
    section = ""
    for row in ROWS:
        if row.section != section:
            section = row.section
            lines += ["", f"## {section}", "", "| kind | |", "|---|---|"]
        reason = row.reason or reasons.get((row.section, row.kind)) or ""
        said = "restored" if row.check is not None else f"named: `{reason.replace('|', '/')}`"
        lines.append(f"| {row.kind} | {said} |")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("matrix"))


def test_there_are_enough_kinds():
    assert len(ROWS) >= 150
    assert len({(row.section, row.kind) for row in ROWS}) == len(ROWS)


def test_every_kind_is_restored_or_named(found):
    assert [(row.section, row.kind, wrong) for row, wrong, _ in found if wrong is not None] == []


def test_every_reason_is_said_in_korean(found):
    reasons = {reason or f"{row.reason} (cannot pickle 'x' object)" for row, _, reason in found if row.check is None}
    assert len(reasons) > 40
    assert [reason for reason in reasons if not _in_korean(reason)] == []


def _in_korean(reason):
    where, _, told = retold(reason, "ko").partition(": ")
    told = re.sub(r"(객체는 저장할 수 없습니다)\(.*\)$", r"\1", told)  # what another library says stays as it says it
    return re.search("[가-힣]", told) and not re.search("[a-z]{2,} [a-z]{2,}", f"{where} {told}")


def test_the_page_says_what_is_so(found):
    assert PAGE.read_text("utf-8") == page(found), "run python -m tests.state.test_matrix"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        result = outcomes(Path(place))
    if problems := [(item.section, item.kind, problem) for item, problem, _ in result if problem is not None]:
        raise SystemExit(f"Not restored as they were, nor named: {problems}")
    PAGE.write_text(page(result), encoding="utf-8")
