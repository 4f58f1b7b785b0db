"""What fails again and again is in the log when it begins, changes and ends."""

import logging

from dure.main.failing import Failing
from dure.ports import StoreUnavailableError

LOG = logging.getLogger("dure.tests")


def tried(caplog, *outcomes):
    caplog.set_level("INFO", "dure.tests")
    failing = Failing(LOG, "tick.failed")
    for outcome in outcomes:
        if outcome is None:
            failing.succeeded()
        else:
            failing.failed(outcome)
    return [(record.levelname, record.getMessage(), getattr(record, "error", None)) for record in caplog.records]


def test_a_database_that_is_away_is_told_once_and_so_is_its_return(caplog):
    away = [StoreUnavailableError("The database cannot be used.") for _ in range(3)]
    assert tried(caplog, None, *away, None, None, away[0]) == [
        ("WARNING", "tick.failed", "The database cannot be used."),
        ("INFO", "tick.failed.over", None),
        ("WARNING", "tick.failed", "The database cannot be used."),
    ]


def test_a_defect_is_told_with_its_traceback_and_another_one_too(caplog):
    told = tried(caplog, ValueError("one"), ValueError("one"), KeyError("other"))
    assert [level for level, _, _ in told] == ["ERROR", "ERROR"]
    assert [record.exc_info[0] for record in caplog.records] == [ValueError, KeyError]
