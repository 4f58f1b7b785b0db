"""What notebooks hold: namespaces, one small change to each, cells that work on them, and what must hold after a load.

The trap: those who save and load them run in processes of other Pythons, so nothing is imported here.
"""

COMMON = "import numpy as np\ncounter = 0\n"
NAMESPACES = {
    "many small, a 187 MB frame, a model": COMMON
    + """
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
rng = np.random.default_rng(1)
for _i in range(200): globals()[f'small{_i}'] = [_i, str(_i)]
table = {f'k{i}': i for i in range(100_000)}
records = [{'id': i, 'name': f'n{i}', 'v': i * .5} for i in range(30_000)]
frame = pd.DataFrame(rng.random((900_000, 25)), columns=[f'c{i}' for i in range(25)])
frame['s'] = np.array(['alpha', 'beta', 'gamma'], dtype=object)[rng.integers(0, 3, 900_000)]
model = RandomForestClassifier(50, max_depth=12, random_state=0).fit(rng.random((5000, 10)), rng.integers(0, 2, 5000))
def rows(): return len(frame) + counter
""",
    "a 1.07 GB array and a view of half": COMMON
    + "big = np.random.default_rng(1).random(134_000_000); half = big[:67_000_000]\n",
    "the awkward mix": COMMON
    + """
import sqlite3, threading, collections, dataclasses, enum, pandas as pd
alpha = 3
def add(x): return x + alpha
def make(k): return lambda x: x + k
closure = make(4)
def fact(n): return 1 if n < 2 else n * fact(n - 1)
square = lambda x: x * x
class Config:
    limit = 7
    def __init__(self): self.items = [1]
cfg = Config()
def local():
    class Inner:
        def hello(self): return 'hi'
    return Inner()
inner = local()
@dataclasses.dataclass
class Point:
    x: int = 1
point = Point(5)
class Colour(enum.Enum):
    RED = 1
red = Colour.RED
Pair = collections.namedtuple('Pair', 'a b'); pair = Pair(1, 2)
a = [1]; b = a; holder = {'in': a}
loop = []; loop.append(loop)
frame = pd.DataFrame(np.random.default_rng(1).random((100_000, 20))); frame[20] = pd.Categorical(['u', 'v'] * 50_000)
big = np.zeros(100_000); half = big[:10]
raw = bytearray(b'abc'); seen = memoryview(raw)
counts = collections.Counter('hello'); nested = {'f': [square, {1, 2}], 't': (a, None)}
gen = (i for i in range(3)); conn = sqlite3.connect(':memory:'); lock = threading.Lock()
import tempfile; fh = open(tempfile.mkstemp()[1], 'w+'); fh.write('hello'); fh.flush(); fh_path = fh.name
""",
    "1 GB of plain objects": COMMON
    + """
import pandas as pd
records = [{'id': i, 'name': f'record {i}', 'tags': [i, i + 1], 'v': i * .5} for i in range(1_000_000)]
texts = pd.DataFrame({'text': [f'text number {i}' for i in range(3_000_000)], 'n': np.arange(3_000_000)})
index = {f'key {i}': (i, [i]) for i in range(700_000)}
""",
}
CHANGES = {"1 GB of plain objects": "records[500_000]['v'] = -1.0"}  # elsewhere the small change is a number's
WORK = {
    "many small, a 187 MB frame, a model": [
        "total = float((frame['c0'] * frame['c1']).sum())",
        "frame.loc[:1000, 'c3'] = 0.5",
        "table['k7'] += 1; records[3]['v'] = 1.5",
        "drawn = rng.random((8000, 10)), rng.integers(0, 2, 8000)",
        "fitted = RandomForestClassifier(40, max_depth=10, random_state=1).fit(*drawn)",
        "ranked = frame.sort_values('c5').head(100)",
        "counter += 1",
    ],
    "a 1.07 GB array and a view of half": [
        "total = sum(float(np.sqrt(part).sum()) for part in np.array_split(big, 128))",
        "half[:1000] = 0.5",
        "top = min(float(np.partition(part, 10)[10]) for part in np.array_split(big[:40_000_000], 40))",
        "big[90_000_000:95_000_000] *= 1.001",  # 40 MB: too many to copy, so that a process keeps them for the save
        "counter += 1",
    ],
    "the awkward mix": [
        "m = frame.drop(columns=20).to_numpy(); c = np.linalg.svd(m, compute_uv=False)",
        "a.append(2)",
        "counter += 1",
    ],
    "1 GB of plain objects": [
        "total = sum(record['v'] for record in records[::10])",
        "records[77]['tags'].append(3); index['key 5'][1].append(1)",
        "longest = texts['text'].str.len().max()",
        "texts.loc[5, 'text'] = 'another'",
        "some = texts[texts['n'] % 7 == 0].sort_values('text').head(100)",
        "counter += 1",
    ],
}
CHECKS = {
    "many small, a 187 MB frame, a model": [
        "len(table) == 100_000 and records[5]['name'] == 'n5'",
        "frame.shape == (900_000, 26) and frame['s'].iloc[0] in ('alpha', 'beta', 'gamma')",
        "model.predict(np.zeros((1, 10)))[0] in (0, 1)",
        "globals().update(counter=5) or rows() == 900_005",
    ],
    "a 1.07 GB array and a view of half": ["big.size == 134_000_000", "big.__setitem__(0, 7) or half[0] == 7"],
    "the awkward mix": [
        "globals().update(alpha=9) or add(1) == 10",
        "closure(1) == 5",
        "fact(5) == 120",
        "square(3) == 9",
        "type(cfg) is Config and cfg.items == [1]",
        "Config.limit == 7 and isinstance(Config(), Config)",
        "inner.hello() == 'hi'",
        "point == Point(5) and type(point) is Point",
        "red is Colour.RED",
        "pair == Pair(1, 2) and type(pair) is Pair",
        "a is b",
        "holder['in'] is a",
        "loop[0] is loop",
        "frame.shape == (100_000, 21)",
        "str(frame[20].dtype) == 'category'",
        "big.__setitem__(0, 7) or half[0] == 7",
        "raw.__setitem__(0, 120) or bytes(seen) == b'xbc'",
        "counts['l'] == 2",
        "nested['t'][0] is a and nested['f'][0](2) == 4",
        # what nobody can save is absent, which the saver must have told, or the real thing: never something else
        "told('gen') or next(gen) == 0",
        "told('conn') or conn.execute('select 1').fetchone() == (1,)",
        "told('lock') or (lock.acquire(False) and type(lock) is type(threading.Lock()))",
        "told('fh') or (open(fh_path).read() == 'hello' and fh.seek(0) == 0 and fh.read() == 'hello' and fh.fileno())",
    ],
    "1 GB of plain objects": [
        "len(records) == 1_000_000 and records[500_000]['v'] == -1.0 and records[7]['tags'] == [7, 8]",
        "texts.shape == (3_000_000, 2) and texts['text'].iloc[-1] == 'text number 2999999'",
        "len(index) == 700_000 and index['key 7'] == (7, [7])",
    ],
}
