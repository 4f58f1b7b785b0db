"""What snapshots, workers and executors write down in English is said in Korean to those who read Korean."""

import ast
import functools
import re

import pytest

from dure.main import spoken
from dure.wire.platform_told import platform_told
from dure.wire.retold import retold
from tests.architecture.source import PACKAGE, modules, shown, tree

SAID_BY = {
    "state/": retold,
    "worker/": retold,
    "adapters/executors/": retold,
    "main/running.py": spoken.retold,
    "main/doctor.py": spoken.retold,
    "core/document.py": platform_told,
    "core/platform": platform_told,
    "adapters/platform_file.py": platform_told,
}
SENTENCE = re.compile(r"[A-Za-z']{2,},? [A-Za-z']+,? [A-Za-z']+|^an? [A-Za-z-]+( [a-z]+)?$")
ENGLISH = re.compile(r"[A-Za-z]{2,} [a-z]{2,}")
CODE = re.compile(r"`[^`]*`|pip install \w+|kind: \w+|'dure.snapshot'|[dD]ure (up|init|down|login|user add|doctor)")
# Logs and command lines of the machinery, and what only programs are told.
NOT_READ = ("worker/forkserver.py", "worker/control.py", "state/inspection.py")
NOT_FOR_PEOPLE = frozenset(
    {
        "it printed nothing",
        "Q0 closed the connection without an answer",
        "Q0 answered Q2 instead of an object",
        "fence Q1 is older than Q3",
        "module Q1 has no attribute Q3",
        "module '__main__' has no attribute 'Q1'",
        "write() argument must be str, not Q1",
        "Q0 has no plain shape",
        "Q0 is not a digest",
        "a list was expected",
        "a text was expected",
        "a number of zero or more was expected",
        "The job asks for nothing of the kind at present.",
        "No cell runs that could hear it.",
        "The cell does not listen.",
        "'Q1' is none of Q3.",
        "kind Q1 is none of Q3",
        "a Q1 runs on one node, not on several",
        "job Q1 is a Q3, which runs on one node: submit a command",
        "<Q1 without a readable text>",
        "a runner ends an attempt once",
        "import dure, sys; print('.'.join(map(str, sys.version_info[:3])), dure.__version__)",
        "du -xh --max-depth=2 Q1 | sort -h | tail",
        "dure down --dir Q1 && dure up --dir Q3",
        "timedatectl set-ntp true",
        "pip install 'dure[server,hub]'",
        "Q0 -m pip install dure",
        # parts of sentences that are tried whole
        "; right would be ",
        ", Q1 running jobs among it",
        "it said nothing",
        "The cell looks at all variables at once (globals(), dir() or the like), ",
        " (Q1: an environment with that version restores it)",
        " (inside it, a Q1)",
        "set it again after the restore",
        "set it again after the restore, or keep the secret in a variable of its own",
    }
)


@functools.cache
def sentences():
    """Return every sentence of the writers with what says it in Korean; what is filled in is Q1, Q2, …."""
    found = {}
    for path in modules():
        name = path.relative_to(PACKAGE).as_posix()
        said_by = next((said for place, said in SAID_BY.items() if name.startswith(place)), None)
        if said_by is not None and name not in NOT_READ:
            nodes = list(ast.walk(tree(path)))
            known = _constants(tree(path))
            beside = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}  # docstrings
            beside |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
            for node in nodes:
                text = _text(node, known) if id(node) not in beside else ""
                if SENTENCE.search(text) and text not in NOT_FOR_PEOPLE:
                    found[text] = (said_by, f"{shown(path)}:{getattr(node, 'lineno', 0)}")
    return found


def _constants(module):
    return {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _text(node, known):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return ""
    parts = []
    for at, part in enumerate(node.values):
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        elif isinstance(part, ast.FormattedValue):
            name = part.value.id if isinstance(part.value, ast.Name) else ""
            parts.append(known.get(name, f"Q{at}"))
    return "".join(parts)


def test_the_writers_write():
    assert len(sentences()) > 100


@pytest.mark.parametrize("sentence", sentences())
def test_what_is_written_in_english_is_said_in_korean(sentence):
    said_by, place = sentences()[sentence]
    told = said_by(sentence.strip(), "ko")
    assert re.search("[가-힣]", told), f"{place}: add it to wire/retold.py or main/spoken.py"
    assert not ENGLISH.search(CODE.sub("", told)), place
    assert set(re.findall(r"Q\d+", told)) == set(re.findall(r"Q\d+", sentence))


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "x['a: b'][1].lock: a lock: locks hold threads of one process only",
            "x['a: b'][1].lock: 잠금(lock): 한 프로세스 안에서만 유효합니다",
        ),
        (
            "x (inside it, a Device): Device cannot be saved (cannot pickle 'Device' object)",
            "x(그 안의 Device 객체): Device 객체는 저장할 수 없습니다('Device' 객체는 피클할 수 없음)",
        ),
        (
            "x: its class A cannot be saved (A.f: an open file: open it again after the restore)",
            "x: 클래스 A을(를) 저장할 수 없습니다(A.f: 열린 파일: 복원한 뒤 다시 여세요)",
        ),
        (
            "c.key: a secret, and secrets are not saved; set it again after the restore",
            "c.key: 비밀값은 저장하지 않습니다. 복원한 뒤 다시 설정하세요",
        ),
        (
            "saved with numpy 1.2, here is 2.1; saved with pandas 2.0, here is none",
            "저장 당시 numpy 1.2, 현재 2.1; 저장 당시 pandas 2.0, 현재 없음",
        ),
        (
            "KeyError: 'x' (saved with numpy 1.2, here is 2.1: an environment with that version restores it)",
            "KeyError: 'x' (저장 당시 numpy 1.2, 현재 2.1: 그 버전이 있는 환경에서 복원됩니다)",
        ),
        (
            "The environment 'torch' cannot take over what the cell needs: 'a': it is not in this snapshot; 'b': odd",
            "'torch' 환경에서 셀에 필요한 값을 읽을 수 없습니다: 'a': 이 스냅샷에 없습니다; 'b': odd",
        ),
        (
            (
                "The environment 'torch' cannot take over what the cell needs: 'a': it is not in this snapshot; "
                "'b': it is not in this snapshot"
            ),
            "'torch' 환경에서 셀에 필요한 값을 읽을 수 없습니다: 'a': 이 스냅샷에 없습니다; 'b': 이 스냅샷에 없습니다",
        ),
        ("what Python said itself", "what Python said itself"),
    ],
)
def test_the_way_and_what_python_said_stay_as_they_are(written, told):
    assert retold(written, "ko") == told
    assert retold(written, "en") == written


@pytest.mark.parametrize(
    "written",
    [
        ": ".join(str(number) for number in range(2_000)),
        "; ".join(f"{number}: odd" for number in range(2_000)),
        "Blob " + "a at " * 1_000 + " cannot be opened: " * 600,
        "dure: a: " * 2_000,
        "The cell needs a " + ", which the environment does not have: add " * 400,
        "a network connection" * 10_000,
    ],
    ids=lambda written: written[:20],
)
def test_what_a_job_said_at_length_neither_fails_nor_holds_up_who_reads_it(written):
    """Found by a job whose error was a long dictionary: its page in Korean was an error, or took the processor."""
    assert retold(written, "ko") == written
