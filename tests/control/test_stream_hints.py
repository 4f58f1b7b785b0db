"""Waking streams from any thread, at once and without being lost."""

import asyncio
import threading
from typing import Any

from dure.control.stream_hints import StreamHints

DEADLINE_S = 90.0


def notify(hints: StreamHints, times: int) -> None:
    for _ in range(times):
        hints.notify()


def notify_often(hints, times):
    for _ in range(times):
        hints.notify()


async def test_a_notification_wakes_everybody_who_waits():
    hints = StreamHints()
    waiting = [asyncio.create_task(hints.wait(0, DEADLINE_S)) for _ in range(50)]
    await asyncio.sleep(0)
    hints.notify()
    assert await asyncio.gather(*waiting) == [1] * 50
    assert hints._waiting == set()


async def test_what_happened_before_waiting_is_not_waited_for():
    hints = StreamHints()
    hints.notify()
    assert await hints.wait(0, DEADLINE_S) == 1
    assert await hints.wait(1, 0.01) == 1, "nothing came: after the time it returns all the same"
    assert hints._waiting == set()


async def test_notifications_come_from_other_threads():
    hints = StreamHints()
    total = 200
    notifier = threading.Thread(target=notify, args=(hints, total))
    notifier.start()
    seen = 0
    while seen < total:
        seen = await hints.wait(seen, DEADLINE_S)
    notifier.join()
    assert seen == hints.generation == total


async def test_who_gives_up_leaves_nothing_behind():
    hints = StreamHints()
    task = asyncio.create_task(hints.wait(0, DEADLINE_S))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert hints._waiting == set()
    hints.notify()


def test_an_event_loop_that_has_closed_is_no_trouble():
    hints = StreamHints()

    async def begin():
        task = asyncio.create_task(hints.wait(0, DEADLINE_S))
        await asyncio.sleep(0)
        kept.append(hints._waiting.copy())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    kept: list[set[Any]] = []
    asyncio.run(begin())
    hints._waiting |= kept[0]
    hints.notify()
    assert (hints.generation, hints._waiting) == (1, set())


def test_many_threads_and_many_loops():
    hints = StreamHints()
    reached = []

    async def follow():
        seen = 0
        while seen < 400:
            seen = await hints.wait(seen, DEADLINE_S)
        reached.append(seen)

    followers = [threading.Thread(target=lambda: asyncio.run(follow())) for _ in range(4)]
    notifiers = [threading.Thread(target=notify, args=(hints, 100)) for _ in range(4)]
    for thread in (*followers, *notifiers):
        thread.start()
    for thread in (*followers, *notifiers):
        thread.join(DEADLINE_S)
    assert reached == [400] * 4
