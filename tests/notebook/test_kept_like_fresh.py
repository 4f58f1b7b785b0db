"""Random cells give the same notebook whether each has a fresh process or all run in one that is kept."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.notebook.conftest import NotebookKernel

STEPS = 40
SETUP = """import numpy as np, pandas as pd
class Point:
    def __init__(self, x): self.x = x
    def twice(self): return self.x * factor
def f(x): return x * factor + n
factor, n, s, p = 2, 0, 'text', Point(4)
a = np.arange(6.); view = a[2:4]; l = [1]; alias = l; d = {'l': l, 'p': Point(3)}
df = pd.DataFrame({'u': [1, 2, 3]})
"""
CELLS = [
    "a += 1", "view[0] = 50 + n", "l.append(n)", "alias = [n]", "alias = l", "p.x += 1", "d['k'] = n", "d['p'] = p",
    "df['v'] = df['u'] * factor", "df.loc[0, 'u'] = n", "s = s + '!'", "factor += 1", "n = f(1)", "view = a[1:3]",
    "a = a.copy()", "n = p.twice()", "def f(x): return x * factor - n", "n = eval('n + factor')", "del s; s = 'new'",
    "class Point:\n    def __init__(self, x): self.x = x + 1\n    def twice(self): return self.x * factor * 3",
    "p = Point(n)", "l = l + [7]", "n = sum(l) + 1", "n = int(a.sum())", "l.append(99); a[0] = -1; 1/0", "n += 1; 1/0",
]  # fmt: skip
STATE = (
    "repr((a.tolist(), view.tolist(), l, alias, alias is l, d['l'], d['p'].x, p.x, sorted(d), df.to_dict('list'), "
    "s, n, factor, f(2), p.twice(), d['p'].twice()))"
)


def test_a_kept_process_gives_what_fresh_ones_give(new_kernel: Callable[..., NotebookKernel]):
    kept, fresh = new_kernel("kept-random.ipynb"), new_kernel("fresh-random.ipynb")
    chosen = random.Random(6)
    lines = {kept: "%%gpu --tier silver --no-burst --keep 10m\n", fresh: "%%gpu --tier bronze --no-burst\n"}
    for kernel in lines:
        assert kernel.run(SETUP).ok
    for step in range(STEPS):
        code = "\n".join(chosen.choice(CELLS) for _ in range(chosen.randint(1, 2)))
        remote = chosen.random() < 0.7 or "1/0" in code
        for kernel, line in lines.items():
            assert kernel.run((line if remote else "") + code).ok != ("1/0" in code), (step, code)
        assert kept.value(STATE) == fresh.value(STATE), (step, code)
    assert "GPU freed" in kept.run("%gpu free").stream()
