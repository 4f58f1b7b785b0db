"""The part of the fidelity matrix that strangers found: what was once lost, altered or named without need."""
# ruff: noqa: E501 - the source of a cell is one text

from tests.state.rows import rows

_E = "import enum\n"
_N = "import numpy as np\n"

STRANGERS_ROWS = [
    *rows(
        "Enumerations",
        (
            "members with attributes of __init__",
            _E
            + "class Planet(enum.Enum):\n    MERCURY = 3.3, 2.4\n    EARTH = 5.9, 6.3\n    def __init__(self, mass, radius): self.mass = mass; self.radius = radius\n    @property\n    def density(self): return self.mass / self.radius\nx = Planet.EARTH",
            "x is Planet.EARTH and x.mass == 5.9 and x.density == 5.9 / 6.3 and Planet((3.3, 2.4)).radius == 2.4",
        ),
        (
            "__new__ with a label",
            _E
            + "class P(bytes, enum.Enum):\n    def __new__(cls, value, label):\n        made = bytes.__new__(cls, [value]); made._value_ = value; made.label = label\n        return made\n    A = 1, 'one'\n    B = 2, 'two'\nx = P.A",
            "x is P.A and x.label == 'one' and P(2) is P.B and P.B == b'\\x02'",
        ),
        (
            "alias and _missing_",
            _E
            + "class C(enum.Enum):\n    A = 1\n    Z = 1\n    B = 2\n    @classmethod\n    def _missing_(cls, value): return cls.B\nx = C.Z",
            "x is C.A and C['Z'] is C.A and list(C.__members__) == ['A', 'Z', 'B'] and C(7) is C.B and list(C) == [C.A, C.B]",
        ),
        (
            "flags with a name for several, and a boundary",
            _E
            + "class P(enum.IntFlag, boundary=enum.KEEP):\n    R = 1\n    W = 2\n    RW = 3\nx = P.R | P.W; y = P(9)",
            "x is P.RW and x.name == 'RW' and y == 9 and ~P.R & P.RW is P.W",
        ),
        (
            "members of a dataclass",
            _E
            + "import dataclasses\n@dataclasses.dataclass\nclass Size:\n    size: str\n    legs: int\nclass C(Size, enum.Enum):\n    BEETLE = 'small', 6\n    DOG = 'medium', 4\nx = C.DOG",
            "x.legs == 4 and isinstance(x, Size) and x is C.DOG",
        ),
        (
            "members that are dates, tuples, texts of auto()",
            _E
            + "import datetime\nclass D(datetime.date, enum.Enum):\n    A = 2020, 1, 2\nclass T(tuple, enum.Enum):\n    A = (1, 2)\nclass S(enum.StrEnum):\n    RED = enum.auto()\nx = [D.A, T.A, S.RED]",
            "x[0] is D.A and D.A.year == 2020 and T.A[1] == 2 and S('red') is x[2]",
        ),
        (
            "class without members that says how values are made",
            _E
            + "class Lower(str, enum.Enum):\n    @staticmethod\n    def _generate_next_value_(name, *_): return name.lower()\nx = Lower",
            "x('More', ['ABC']).ABC.value == 'abc'",
        ),
        (
            "attribute of a member, and a metaclass",
            _E
            + "class M(enum.EnumType):\n    def names(cls): return [member.name for member in cls]\nclass C(enum.Enum, metaclass=M):\n    A = 1\n    B = 2\nC.A.friends = [C.B]\nx = C.A",
            "x.friends == [C.B] and C.names() == ['A', 'B']",
        ),
    ),
    *rows(
        "Containers of the person's own class",
        (
            "dict whose __setitem__ changes what it is given",
            "class D(dict):\n    def __setitem__(self, key, value): super().__setitem__(key, ('kept', value))\nx = D(); x['a'] = 1",
            "dict(x) == {'a': ('kept', 1)} and type(x) is D",
        ),
        (
            "list whose append and extend are its own",
            "class L(list):\n    def append(self, item): super().append(('kept', item))\n    def extend(self, items): raise RuntimeError\nx = L([1]); x.append(2); x.note = x",
            "list(x) == [1, ('kept', 2)] and x.note is x",
        ),
        (
            "dict that is its own attributes",
            "class A(dict):\n    def __init__(self, *a, **k):\n        super().__init__(*a, **k)\n        self.__dict__ = self\nx = A(b=1); x.me = x",
            "x.b == 1 and x.me is x and (setattr(x, 'c', 3) or x['c'] == 3)",
        ),
        (
            "OrderedDict that keeps the last few",
            "import collections\nclass L(collections.OrderedDict):\n    def __init__(self, size): super().__init__(); self.size = size\n    def __setitem__(self, key, value):\n        super().__setitem__(key, value)\n        if len(self) > self.size: self.popitem(last=False)\nx = L(2)\nfor k in 'abc': x[k] = k\nx.move_to_end('b')",
            "list(x) == ['c', 'b'] and x.size == 2 and (x.__setitem__('d', 1) or list(x) == ['b', 'd'])",
        ),
        (
            "defaultdict and Counter with attributes",
            "import collections\nclass D(collections.defaultdict): pass\nclass C(collections.Counter):\n    def __init__(self, items, unit): super().__init__(items); self.unit = unit\nx = D(list); x.note = 1; x['a'].append(x); y = C('aab', 'letters')",
            "x.note == 1 and x['a'][0] is x and x['b'] == [] and y.unit == 'letters' and y['a'] == 2",
        ),
        (
            "deque with a bound and slots",
            "import collections\nclass Q(collections.deque):\n    __slots__ = ('note',)\n    def append(self, item): super().append((item,))\nx = Q([1, 2], maxlen=2); x.note = [x]; x.append(3)",
            "list(x) == [2, (3,)] and x.maxlen == 2 and x.note[0] is x",
        ),
        (
            "set that asks for two arguments",
            "class S(set):\n    def __init__(self, a, b): super().__init__([a, b])\nx = S(1, 2); x.note = 3",
            "x == {1, 2} and type(x) is S and x.note == 3",
        ),
        (
            "nodes that hash by name and hold each other",
            "class N:\n    def __init__(self, name): self.name = name; self.near = set(); self.far = {}\n    def __hash__(self): return hash(self.name)\n    def __eq__(self, other): return self.name == other.name\nx, y = N('x'), N('y'); x.near.add(y); y.near.add(x); x.far[y] = 1; y.far[x] = 2",
            "y in x.near and x in y.near and next(iter(x.near)) is y and x.far[y] == 1 and y.far[x] == 2",
        ),
        (
            "mapping proxy of a dict that is there, too",
            "import types\nd = {'a': 1}; x = types.MappingProxyType(d)",
            "d.__setitem__('b', 2) or x['b'] == 2",
        ),
        (
            "TypedDict on a TypedDict",
            "import typing\nclass A(typing.TypedDict):\n    a: int\nclass B(A, total=False):\n    b: str\nx = B",
            "x.__required_keys__ == {'a'} and x.__optional_keys__ == {'b'} and x(a=1) == {'a': 1}",
        ),
    ),
    *rows(
        "Attributes and hashes",
        (
            "attributes that are a dictionary, too",
            "import argparse\nx = argparse.Namespace(a=1); d = vars(x)",
            "d.__setitem__('b', 2) or (x.b == 2 and vars(x) is d)",
        ),
        (
            "attributes of one object inside another",
            "class T: pass\nt, u = T(), T(); t.a = 1; u.settings = vars(t); t.me = t; x = [u, t]",
            "x[0].settings is vars(x[1]) and x[1].me is x[1]",
        ),
        (
            "objects of one state",
            "class Borg:\n    shared = {}\n    def __init__(self): self.__dict__ = self.shared\nx, y = Borg(), Borg(); x.k = 5",
            "y.k == 5 and (setattr(x, 'z', 1) or y.z == 1) and Borg().k == 5 and vars(x) is Borg.shared",
        ),
        (
            "attributes of a list of the person's, as a dictionary",
            "class L(list): pass\nx = L([1]); x.a = 1; d = vars(x)",
            "d.__setitem__('b', 2) or x.b == 2",
        ),
        (
            "SimpleNamespace whose attributes are a dictionary, too",
            "import types\nx = types.SimpleNamespace(a=1); d = vars(x)",
            None,
        ),
        (
            "dataclasses with defaults that hold each other in sets",
            "import dataclasses\n@dataclasses.dataclass(unsafe_hash=True)\nclass K:\n    n: str = 'd'\n    peers: set = dataclasses.field(default_factory=set, compare=False)\nh, k = K('h'), K('k'); h.peers.add(k); k.peers.add(h); x = [h, k]",
            "h in k.peers and k in h.peers and list(vars(h)) == ['n', 'peers']",
        ),
        (
            "hash of an object that the class has a default for",
            "class T:\n    def __init__(self, a): self.a = a\n    def __hash__(self): return hash(self.a)\n    def __eq__(self, other): return self.a == other.a\nclass K:\n    t = None\n    def __init__(self, t): self.near = {}; self.t = t\n    def __hash__(self): return hash(self.t)\n    def __eq__(self, other): return self.t == other.t\nh, k = K(T('h')), K(T('k')); h.near[k] = 1; k.near[h, 2] = 2; x = h",
            "h.near[k] == 1 and k.near[h, 2] == 2 and list(vars(h)) == ['near', 't']",
        ),
        (
            "hash of what holds the object, and a default for it",
            "class F:\n    def __init__(self, k): self.k = k\n    def __hash__(self): return 7\nclass K:\n    f = None\n    def __init__(self): self.near = set()\n    def __hash__(self): return hash(self.f)\nx = K(); x.f = F(x); x.near.add(x)",
            None,
        ),
        (
            "class that holds its instances by their hashes",
            "class A:\n    known = {}; all = set()\n    def __init__(self, n): self.n = n; A.known[self] = n; A.all.add(self)\n    def __hash__(self): return hash(self.n)\n    def __eq__(self, other): return self.n == other.n\nx, y = A('x'), A('y')",
            "A.known[x] == 'x' and list(A.known) == [x, y] and x in A.all and y in A.all and len(A.all) == 2",
        ),
    ),
    *rows(
        "What else strangers tried",
        (
            "exception raised from another, without where it was raised",
            "class E(Exception):\n    def __init__(self, text, *, code): super().__init__(text); self.code = code\ntry:\n    try: {}['k']\n    except KeyError as below: raise E('text', code=7) from below\nexcept E as error: x = error",
            "x.code == 7 and type(x.__cause__) is KeyError and x.__context__ is x.__cause__ and x.__suppress_context__",
        ),
        (
            "exceptions with what their built-in type keeps, and slots",
            "class F(OSError):\n    def __init__(self, path, *, q): super().__init__(2, 'no', path); self.q = q\nclass S(StopIteration):\n    __slots__ = ('b',)\n    def __init__(self, a, b): super().__init__(a); self.b = b\nclass G(ExceptionGroup):\n    def __new__(cls, text, of, code): made = super().__new__(cls, text, of); made.code = code; return made\n    def __init__(self, *_): pass\nx = [F('f', q=3), S(4, 5), G('g', [ValueError(1)], 6)]",
            "str(x[0]) == \"[Errno 2] no: 'f'\" and x[0].q == 3 and (x[1].value, x[1].b) == (4, 5) and x[2].code == 6 and x[2].exceptions[0].args == (1,)",
        ),
        (
            "exception raised while another was handled",
            "try:\n    try: 1 / 0\n    except ZeroDivisionError: int('a')\nexcept ValueError as error: x = error",
            "type(x.__context__) is ZeroDivisionError and x.__cause__ is None and 'invalid literal' in str(x)",
        ),
        (
            "sliding window over an array",
            _N + "a = np.arange(10.0); x = np.lib.stride_tricks.sliding_window_view(a, 3)",
            "a.__setitem__(4, 99) or (x[2, 2] == 99 and x[4, 0] == 99 and not x.flags.writeable)",
        ),
        (
            "as_strided over an array",
            _N + "a = np.arange(10.0); x = np.lib.stride_tricks.as_strided(a, (4, 4), (16, 8))",
            "x.__setitem__((0, 1), 55.0) or a[1] == 55",
        ),
        (
            "array on a C array",
            _N + "import ctypes\nc = (ctypes.c_double * 4)(1, 2, 3, 4); x = np.ctypeslib.as_array(c)",
            "c.__setitem__(1, 9.0) or x[1] == 9",
        ),
        (
            "array on an array.array",
            _N + "import array\nc = array.array('d', [1, 2, 3]); x = np.frombuffer(c)[1:]",
            "c.__setitem__(1, 9.0) or x[0] == 9",
        ),
        (
            "rotation of scipy",
            _N + "from scipy.spatial.transform import Rotation\nx = Rotation.from_quat([0.0, 0.0, 1.0, 0.0])",
            "abs(x.as_quat()[2]) == 1",
        ),
        ("shelf", "import os, tempfile, shelve\nx = shelve.open(os.path.join(tempfile.mkdtemp(), 's'))", None),
        ("version of this Python", "import sys\nx = sys.version_info", None),
        (
            "pydantic's secret text",
            "import pydantic\nclass S(pydantic.BaseModel):\n    door: pydantic.SecretStr\nx = S(door='open sesame')",
            None,
        ),
    ),
]
