"""The real clock and ids."""

import re
import time

from dure.adapters.system import SystemClock, SystemIds


def test_the_clock_tells_seconds_since_the_epoch():
    before = time.time()
    assert before <= SystemClock().now() <= time.time()


def test_job_ids_are_short_readable_and_differ():
    ids = SystemIds()
    made = {ids.job_id() for _ in range(10_000)}
    assert len(made) == 10_000
    assert all(re.fullmatch(r"j-[0-9a-hjkmnp-tv-z]{8}", job_id) for job_id in made)
