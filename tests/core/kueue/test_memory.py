"""What an engine keeps in a process that runs for months: bounded, whatever passed through it."""

import gc
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.objects import Flavor, LocalQueue, Preemption
from tests.core.kueue.world import a_queue, a_workload

NAMES = ("a", "b", "c")
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)


def an_engine(limit):
    engine = Engine()
    engine.memory.limit = limit
    queues = [a_queue(name, 40 + at, preemption=Preemption("LowerPriority", "Any")) for at, name in enumerate(NAMES)]
    doors = [LocalQueue("ns", name, name) for name in NAMES]
    engine.configure(flavors=[Flavor("default")], cluster_queues=queues, local_queues=doors)
    return engine


def live(engine, rounds, begin=0):
    """Let so many workloads come, most of them of a shape that was never seen, run, be preempted and end."""
    for number in range(begin, begin + rounds):
        cpu = 1 + number % 37
        name = NAMES[number % 3]
        engine.submit(a_workload(f"w{number}", cpu, priority=number * 7 % 101, created_ns=number, local=name), number)
        for _ in range(3):
            for entry in engine.cycle(number).entries:
                for target in entry.preempting:
                    engine.release(target.info.key, number)
        if number >= 30:
            engine.finish(f"ns/w{number - 30}", number)


def reached(engine):
    """Return how many objects an engine keeps alive."""
    seen, todo = set(), [engine]
    while todo:
        one = todo.pop()
        if id(one) not in seen and not isinstance(one, _CODE):
            seen.add(id(one))
            todo += gc.get_referents(one)
    return len(seen)


def test_what_an_engine_keeps_does_not_grow_with_what_passed_through_it():
    engine = an_engine(limit=300)
    kept = []
    for stretch in range(12):
        live(engine, 100, 100 * stretch)
        kept.append(reached(engine))
        assert 0 < engine.memory.count <= 300
    assert max(kept[6:]) <= 1.1 * max(kept[:6])


def test_an_engine_that_nobody_asks_anything_any_more_keeps_no_workload():
    engine = an_engine(limit=300)
    live(engine, 60)
    for number in range(60):
        engine.finish(f"ns/w{number}", 60)
    assert [*engine.held(), *engine.waiting()] == []
    assert engine.cycle(61).entries == []
    engine.memory.clear()
    assert reached(engine) <= 1.05 * reached(an_engine(limit=300))


def test_the_same_is_decided_however_little_is_remembered():
    engines = [an_engine(limit) for limit in (1, 20, 50_000)]
    for engine in engines:
        live(engine, 200)
    held = [sorted(info.key for info in engine.held()) for engine in engines]
    assert held[0] == held[1] == held[2]
    assert len({engine.number for engine in engines}) == 1
