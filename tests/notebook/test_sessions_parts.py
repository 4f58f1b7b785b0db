"""A session of many plain objects in a real kernel: only the part that a cell changed is looked at and saved again."""

from tests.notebook.desk import desk, plane, server, settled, told

__all__ = ["desk", "plane", "server"]

MADE = "data = [{'id': n, 'name': f'record {n}', 'tags': [n]} for n in range(100_000)]"
REMEMBERED = """
from dure.state.cut import remembered
kept = {id(part) for root in remembered.roots.values() for part in root.parts.values()}
print(len(kept), len(kept & globals().get('before', kept)))
before = kept
del parts, kept
"""


def test_most_parts_are_left_alone_after_a_small_change_and_all_come_back(desk):
    kernel = desk.open()
    kernel.run(MADE)
    settled(desk)
    kernel.run("import json, math")
    settled(desk)
    kernel.run(REMEMBERED)
    settled(desk)
    kernel.run("data[70_000]['tags'].append('new')")
    settled(desk)
    of_all, left_alone = map(int, kernel.run(REMEMBERED).stream().split())
    assert of_all > 5
    assert left_alone >= of_all / 2
    desk.crash(kernel)
    again = desk.open()
    assert "Restored" in told(again.loaded)
    assert again.run("print(len(data), data[70_000], data[-1]['name'])").stream().strip() == (
        "100000 {'id': 70000, 'name': 'record 70000', 'tags': [70000, 'new']} record 99999"
    )
