"""Kueue's own cases, where they are at hand, through the command that counts them."""

from pathlib import Path

import pytest
from benchmarks.kueue_conformance import run

CASES = Path(__file__).resolve().parents[4] / "shared" / "data" / "kueue-cases"
PASSED_AT_LEAST = 190


@pytest.mark.skipif(not CASES.is_dir(), reason="Kueue's cases are not beside the project")
def test_kueues_own_cases_pass(capsys):
    total = run(CASES, replays=False)
    assert total["failed"] == 0, capsys.readouterr().out
    assert total["passed"] >= PASSED_AT_LEAST


def test_a_case_that_is_not_known_is_unsupported_never_passed(tmp_path, capsys):
    (tmp_path / "TestNew.jsonl").write_text('{"test": "TestNew", "case": "any", "tc": {}}\n', encoding="utf-8")
    assert run(tmp_path) == {"unsupported": 1}
    assert "no runner for TestNew" in capsys.readouterr().out
