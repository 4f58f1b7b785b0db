"""The part of the fidelity matrix about what is told apart by which object it is: NaNs, sentinels, singletons."""
# ruff: noqa: E501 - the source of a cell is one text

from tests.state.rows import rows

_NANS = "import decimal, json, math\nimport numpy as np, pandas as pd\n"

IDENTITY_ROWS = [
    *rows(
        "NaN objects, which are found by identity",
        ("numpy's NaN as a key", _NANS + "x={np.nan:1}", "x[__import__('numpy').nan]==1"),
        ("numpy's NaN in a list and a set", _NANS + "x=[np.nan]; s={np.nan,1}", "np.nan in x and np.nan in s"),
        ("numpy's NaN as a variable", _NANS + "x=np.nan", "x is np.nan"),
        ("math.nan as a key", _NANS + "x=math.nan; d={x:1}", "x is math.nan and d[x]==1 and x is not np.nan"),
        (
            "NaN of one's own under several names",
            "x=float('nan'); d={x:1}; s={x}; y=[x]*3",
            "d[x]==1 and x in s and y==[x]*3",
        ),
        ("NaN inside a tuple that is a key", "x=(float('nan'),1); d={x:1}; y=x[0]", "d[x]==1 and d[(y,1)]==1"),
        ("NaN inside a frozen set that is a key", "x=frozenset([float('nan'),1]); d={x:1}", "d[x]==1"),
        (
            "NaN that the JSON decoder made",
            _NANS + "x=json.loads('[NaN,NaN]'); d={x[0]:1}",
            "d[x[1]]==1 and x[0] is json.decoder.NaN",
        ),
        (
            "NaN of decimal",
            _NANS + "x=decimal.Decimal('NaN'); d={x:1}; y=[decimal.Decimal('sNaN123')]",
            "d[x]==1 and str(y[0])=='sNaN123'",
        ),
        ("NaN of complex", "x=complex('nan+1j'); d={x:1}", "d[x]==1 and x.imag==1"),
        (
            "NaN of numpy's scalars",
            _NANS
            + "x=[np.float64('nan'),np.float32('nan'),np.float16('nan'),np.complex64('nan'),np.longdouble('nan')]; d={k:type(k) for k in x}; y=x[0]",
            "all(d[k] is type(k) for k in x) and x[0] is y",
        ),
        (
            "NaT of numpy's scalars",
            _NANS + "x=np.datetime64('NaT','s'); y=np.timedelta64('NaT'); d={x:1,y:2}",
            "d[x]==1 and d[y]==2 and x.dtype=='M8[s]'",
        ),
        ("pandas.NaT as a key", _NANS + "x={pd.NaT:1}", "x[pd.NaT]==1"),
        (
            "label of a pandas column that is NaN",
            _NANS + "x=pd.DataFrame([[1,2]],columns=['a',np.nan]); d={np.nan:1}",
            "x[np.nan].tolist()==[2] and x.columns[1] is np.nan and d[x.columns[1]]==1",
        ),
        ("NaN in an object array", _NANS + "x=np.array([1,np.nan,'x'],dtype=object)", "x[1] is np.nan"),
        (
            "NaN in a column of texts",
            _NANS + "x=pd.Series(['x',np.nan]*50000,dtype=object)",
            "x[1] is np.nan and x[99999] is np.nan",
        ),
        (
            "NaN in a large array of objects",
            _NANS + "x=np.array([float(i) if i%10 else np.nan for i in range(200000)],dtype=object)",
            "x[0] is np.nan and x[199990] is np.nan",
        ),
        (
            "NaN in the parts of a large list, and elsewhere",
            "n=float('nan'); x=[float(i) if i%10 else n for i in range(300000)]; y=x[20:30]; d={n:1}",
            "x[0] is n and x[299990] is n and y[0] is n and d[n]==1",
        ),
        (
            "NaN in the keys of a large dictionary",
            "n=float('nan'); x={(i,n):n for i in range(100000)}",
            "x[5,n] is n and x[99999,n] is n",
        ),
        ("NaN in a large set", "n=float('nan'); x={*map(float,range(200000)),n}", "n in x"),
        (
            "NaNs of decimal, complex and numpy in large lists",
            _NANS
            + "a=[decimal.Decimal('NaN'),complex('nan'),np.float64('nan')]; d=dict.fromkeys(a,1); x=[[a[0],decimal.Decimal(n),a[1],1j,a[2],np.float64(n)] for n in range(50000)]",
            "all(d[x[n][k]]==1 for n in (0,49999) for k in (0,2,4))",
        ),
        ("NaN as a default and in a closure", "n=float('nan')\ndef x(k=n, s={n}): return k in s", "x() and x(n)"),
    ),
    *rows(
        "Told apart by which object it is",
        (
            "attributes of a number's subclass under two names",
            "class N(int): pass\nx=N(5); x.tag=1; y=[x]",
            "setattr(x,'tag',7) or y[0].tag==7",
        ),
        (
            "attributes of a date's subclass under two names",
            "import datetime\nclass N(datetime.date): pass\nx=N(2020,1,1); x.tag=1; y=[x]",
            "setattr(x,'tag',7) or y[0].tag==7",
        ),
        (
            "attributes of a Decimal's subclass under two names",
            "import decimal\nclass N(decimal.Decimal): pass\nx=N('1'); x.tag=1; y=[x]",
            "setattr(x,'tag',7) or y[0].tag==7",
        ),
        (
            "attributes of a Fraction's subclass under two names",
            "import fractions\nclass N(fractions.Fraction): pass\nx=N(1,2); x.tag=1; y=[x]",
            "setattr(x,'tag',7) or y[0].tag==7",
        ),
        (
            "sentinel as a default, in a closure and in a class",
            "x=object()\ndef f(k=x, *, o=x): return k is o is x\nclass A:\n    k=x\n    def m(self, o=x): return o is x\ndef make(): return lambda o: o is x\ng=make()",
            "f() and f(x) and A.k is x and A().m() and g(x)",
        ),
        (
            "sentinel of a class of one's own",
            "class Missing: pass\nx=Missing()\nclass P:\n    def __init__(self, v=x): self.v=v\np=P()",
            "p.v is x and P.__init__.__defaults__[0] is x",
        ),
        (
            "one instance by __new__",
            "class S:\n    one=None\n    def __new__(cls):\n        cls.one = cls.one or object.__new__(cls)\n        return cls.one\nx=S(); y=[x]",
            "x is S() is y[0]",
        ),
        (
            "keys with the hash of their identity",
            "import collections, weakref\nclass K: pass\nx=K(); y=(x,1); d={x:1,y:2,frozenset([x]):3}; w=weakref.WeakKeyDictionary({x:4}); o=collections.OrderedDict({x:5})",
            "d[x]==1 and d[x,1]==2 and d[frozenset([x])]==3 and w[x]==4 and o[x]==5 and y[0] is x",
        ),
        (
            "methods, functions, classes and modules as keys",
            "import math\nclass K:\n    def m(self): pass\ndef f(): pass\nk=K(); x={k.m:1,f:2,K:3,math:4,math.sin:5}",
            "[x[k.m],x[f],x[K],x[math],x[math.sin]]==[1,2,3,4,5]",
        ),
        (
            "objects as labels of pandas",
            "import pandas as pd\nclass K: pass\nk=K(); x=pd.Series([1],index=[k]); c=pd.Categorical([k,k])",
            "x[k]==1 and x.index[0] is k and c[1] is k",
        ),
        (
            "singletons of libraries",
            "import dataclasses, inspect, unittest.mock\nimport numpy as np, pandas as pd\nx=[pd.NA,np.ma.masked,inspect.Parameter.empty,dataclasses.MISSING,unittest.mock.sentinel.a,np.newaxis,np.True_]",
            "x[0] is pd.NA and x[1] is np.ma.masked and x[2] is inspect.Parameter.empty and x[3] is dataclasses.MISSING and x[4] is unittest.mock.sentinel.a and x[5] is None and x[6] is np.True_",
        ),
        (
            "dictionary that a module has under a name",
            "from html.entities import html5 as x\nx['wt;']='w'",
            "__import__('html.entities').entities.html5 is x and x.pop('wt;')=='w'",
        ),
        (
            "objects that modules have under names",
            "import pandas as pd, matplotlib.style, unittest.mock\nx=unittest.mock.ANY; y=unittest.mock.DEFAULT; o=pd.options; s=matplotlib.style.library",
            "x is unittest.mock.ANY and y is unittest.mock.DEFAULT and o is pd.options and s is matplotlib.style.library",
        ),
        ("variable of a context", "import contextvars\nx=contextvars.ContextVar('x')", None),
    ),
]
