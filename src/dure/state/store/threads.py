"""Does one thing for many numbers, such as those of chunks, on a few threads.

The trap: a pool's threads keep a process from ending until all that was handed in is done; these let it end.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def for_each(do: Callable[[int], object], numbers: Iterable[int], threads: int) -> None:
    """Call `do` with each number, on this thread and `threads - 1` others. Raises the first error, once all have
    stopped; what was not begun by then is left.
    """
    todo = deque(numbers)
    errors: list[BaseException] = []

    def work() -> None:
        while not errors:
            try:
                number = todo.popleft()
            except IndexError:
                return
            try:
                do(number)
            except BaseException as error:  # told by the thread that asked
                errors.append(error)

    others = [threading.Thread(target=work, name="dure-restore", daemon=True) for _ in range(threads - 1)]
    for other in others:
        other.start()
    try:
        work()
        for other in others:
            other.join()
    finally:
        todo.clear()  # interrupted
    if errors:
        raise errors[0]
