"""Waking streams from any thread, at once and without being lost."""

import asyncio
import threading
from typing import Any

from dure.control.changes import Changes

DEADLINE_S = 90.0


def notify(changes: Changes, times: int) -> None:
    for _ in range(times):
        changes.notify()


def notify_often(changes, times):
    for _ in range(times):
        changes.notify()


async def test_a_notification_wakes_everybody_who_waits():
    changes = Changes()
    waiting = [asyncio.create_task(changes.wait(0, DEADLINE_S)) for _ in range(50)]
    await asyncio.sleep(0)
    changes.notify()
    assert await asyncio.gather(*waiting) == [1] * 50
    assert changes._waiting == set()


async def test_what_happened_before_waiting_is_not_waited_for():
    changes = Changes()
    changes.notify()
    assert await changes.wait(0, DEADLINE_S) == 1
    assert await changes.wait(1, 0.01) == 1, "nothing came: after the time it returns all the same"
    assert changes._waiting == set()


async def test_notifications_come_from_other_threads():
    changes = Changes()
    total = 200
    notifier = threading.Thread(target=notify, args=(changes, total))
    notifier.start()
    seen = 0
    while seen < total:
        seen = await changes.wait(seen, DEADLINE_S)
    notifier.join()
    assert seen == changes.generation == total


async def test_who_gives_up_leaves_nothing_behind():
    changes = Changes()
    task = asyncio.create_task(changes.wait(0, DEADLINE_S))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert changes._waiting == set()
    changes.notify()


def test_an_event_loop_that_has_closed_is_no_trouble():
    changes = Changes()

    async def begin():
        task = asyncio.create_task(changes.wait(0, DEADLINE_S))
        await asyncio.sleep(0)
        kept.append(changes._waiting.copy())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    kept: list[set[Any]] = []
    asyncio.run(begin())
    changes._waiting |= kept[0]
    changes.notify()
    assert (changes.generation, changes._waiting) == (1, set())


def test_many_threads_and_many_loops():
    changes = Changes()
    reached = []

    async def follow():
        seen = 0
        while seen < 400:
            seen = await changes.wait(seen, DEADLINE_S)
        reached.append(seen)

    followers = [threading.Thread(target=lambda: asyncio.run(follow())) for _ in range(4)]
    notifiers = [threading.Thread(target=notify, args=(changes, 100)) for _ in range(4)]
    for thread in (*followers, *notifiers):
        thread.start()
    for thread in (*followers, *notifiers):
        thread.join(DEADLINE_S)
    assert reached == [400] * 4
