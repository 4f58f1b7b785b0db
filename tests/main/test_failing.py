"""What fails again and again is in the log when it begins, changes and ends."""

from dure.main.failing import Failing
from dure.ports import StoreUnavailableError
from tests.logged import Kept


def tried(kept, *outcomes):
    failing = Failing(kept.log, "tick.failed")
    for outcome in outcomes:
        if outcome is None:
            failing.succeeded()
        else:
            failing.failed(outcome)
    return [(record.levelname, record.getMessage(), getattr(record, "error", None)) for record in kept.records]


def test_a_database_that_is_away_is_told_once_and_so_is_its_return():
    away = [StoreUnavailableError("The database cannot be used.") for _ in range(3)]
    assert tried(Kept(), None, *away, None, None, away[0]) == [
        ("WARNING", "tick.failed", "The database cannot be used."),
        ("INFO", "tick.failed.over", None),
        ("WARNING", "tick.failed", "The database cannot be used."),
    ]


def test_a_defect_is_told_with_its_traceback_and_another_one_too():
    kept = Kept()
    told = tried(kept, ValueError("one"), ValueError("one"), KeyError("other"))
    assert [level for level, _, _ in told] == ["ERROR", "ERROR"]
    assert [record.exc_info[0] for record in kept.records] == [ValueError, KeyError]
