"""The part of the fidelity matrix on numpy, pandas, scipy, scikit-learn, matplotlib and what else notebooks import."""
# ruff: noqa: E501 - the source of a cell is one text

from tests.state.rows import rows

_N = "import numpy as np\n"
_P = "import numpy as np, pandas as pd\n"
_T = "import os, tempfile, threading, io\n"

SCIENCE_ROWS = [
    *rows(
        "numpy",
        ("array", _N + "x = np.arange(6.0).reshape(2, 3)", "x.shape == (2, 3) and x.sum() == 15 and x.flags.writeable"),
        ("large array", _N + "x = np.arange(600_000.0)", "x[-1] == 599_999 and x.flags.writeable"),
        ("view of half of it", _N + "a = np.zeros(100_000); x = a[:50_000]", "a.__setitem__(3, 7) or x[3] == 7"),
        (
            "view backwards with a step",
            _N + "a = np.arange(9); x = a[::-2]",
            "x.strides == (-16,) and np.shares_memory(a, x)",
        ),
        ("transposed view", _N + "a = np.ones((2, 3)); x = a.T", "np.shares_memory(a, x) and x.shape == (3, 2)"),
        (
            "view with another dtype",
            _N + "a = np.zeros(4); x = a.view('u1')",
            "np.shares_memory(a, x) and x.size == 32",
        ),
        (
            "broadcast view",
            _N + "a = np.ones(3); x = np.broadcast_to(a, (2, 3))",
            "x.strides[0] == 0 and not x.flags.writeable and np.shares_memory(a, x)",
        ),
        (
            "Fortran order",
            _N + "x = np.asfortranarray(np.ones((3, 4)))",
            "x.flags.f_contiguous and not x.flags.c_contiguous",
        ),
        ("axes in another order", _N + "x = np.ones((2, 3, 4)).transpose(1, 0, 2)", "x.shape == (3, 2, 4)"),
        ("0-d", _N + "x = np.array(5.0)", "x.shape == () and type(x) is np.ndarray"),
        ("empty with a shape", _N + "x = np.zeros((0, 3), 'i2')", "x.shape == (0, 3) and x.dtype == 'i2'"),
        (
            "structured",
            _N + "x = np.zeros(2, [('a', 'i4'), ('b', 'f8')]); x['a'] = 3",
            "x.dtype.names == ('a', 'b') and x['a'][1] == 3",
        ),
        (
            "field of a structured array",
            _N + "a = np.zeros(2, [('a', 'i4'), ('b', 'f8')]); x = a['b']",
            "np.shares_memory(a, x)",
        ),
        (
            "recarray",
            _N + "x = np.rec.array([(1, 2.0)], dtype=[('a', 'i4'), ('b', 'f8')])",
            "x.a[0] == 1 and type(x) is np.recarray",
        ),
        ("masked", _N + "x = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])", "x.sum() == 4 and x.mask[1]"),
        (
            "masked, on a plain array",
            _N
            + "a = np.arange(6.0); x = np.ma.MaskedArray(a, mask=[0, 1, 0, 0, 0, 0], copy=False); y = x[1:4]; m = x._mask",
            "m is x._mask and (a.__setitem__(2, 9.0) or y[1] == 9) and (y.__setitem__(2, np.ma.masked) or x.mask[3]) and x._sharedmask",
        ),
        (
            "masked, without a mask, a fill value or sharing",
            _N + "x = np.ma.array([1, 2], dtype='u1')",
            "x._mask is np.ma.nomask and x._fill_value is None and not x.sharedmask",
        ),
        (
            "fill value that two masked arrays share",
            _N + "x = np.ma.array([1.0, 2.0], fill_value=5.0); y = x + 1",
            "(setattr(x, 'fill_value', 7.0) or y.fill_value == 7.0) and y[1] == 3",
        ),
        (
            "masked array of a class of the notebook",
            _N
            + "class M(np.ma.MaskedArray): pass\na = np.arange(6.0); x = a.view(M); x[1] = np.ma.masked; x.note = [1]",
            "type(x) is M and x.note == [1] and x.mask[1] and (a.__setitem__(2, 9.0) or x[2] == 9)",
        ),
        (
            "flat iterator of an array",
            _N + "a = np.array([[{}, 1], [2, 3]], dtype=object); x = a.flat; y = a.flat; next(y)",
            "x[0] is a[0, 0] and next(y) == 1 and (x.__setitem__(1, 7) or a[0, 1] == 7)",
        ),
        ("matrix", _N + "x = np.ones((2, 2)).view(np.matrix)", "type(x) is np.matrix and (x * x)[0, 0] == 2"),
        ("object array with an alias", _N + "a = [1]; x = np.array([a, None], dtype=object)", "x[0] is a"),
        (
            "datetime64 and timedelta64",
            _N + "x = [np.array(['2024-01-02'], 'M8[D]'), np.array([5], 'm8[s]')]",
            "str(x[0][0]) == '2024-01-02' and x[1].dtype == 'm8[s]'",
        ),
        (
            "fixed-width text and bytes",
            _N + "x = [np.array(['ab', 'c']), np.array([b'ab'])]",
            "x[0][0] == 'ab' and x[1].dtype == 'S2'",
        ),
        (
            "StringDType",
            _N + "x = np.array(['a', 'longer than that'], dtype=np.dtypes.StringDType())",
            "x[1] == 'longer than that'",
        ),
        ("big-endian", _N + "x = np.array([1], '>i4')", "x[0] == 1 and x.dtype.byteorder == '>'"),
        (
            "bool, complex, float16, longdouble",
            _N + "x = [np.ones(2, t) for t in ('?', 'c16', 'f2', 'g')]",
            "[a.dtype.char for a in x] == ['?', 'D', 'e', 'g']",
        ),
        ("read-only", _N + "x = np.ones(3); x.flags.writeable = False", "not x.flags.writeable"),
        ("scalar", _N + "x = np.float32(1.5)", "type(x) is np.float32 and x == 1.5"),
        ("dtype and ufunc", _N + "x = [np.dtype('f4'), np.add]", "x[0] == 'f4' and x[1] is np.add"),
        (
            "Generator at its position",
            _N + "x = np.random.default_rng(5); x.random()",
            "x.random() == (lambda g: (g.random(), g.random())[1])(np.random.default_rng(5))",
        ),
        (
            "RandomState at its position",
            _N + "x = np.random.RandomState(5); x.rand()",
            "x.rand() == (lambda g: (g.rand(), g.rand())[1])(np.random.RandomState(5))",
        ),
        ("poly1d", _N + "x = np.poly1d([1, 2])", "x(3) == 5"),
        (
            "subclass of the notebook",
            _N + "class A(np.ndarray): pass\nx = np.ones(3).view(A); x.note = 1",
            "type(x) is A and x.note == 1",
        ),
        (
            "array on a bytearray",
            _N + "b = bytearray(80); x = np.frombuffer(b, 'f8')",
            "b.__setitem__(slice(0, 8), b'\\0' * 6 + b'\\xf0\\x3f') or x[0] == 1",
        ),
        ("memmap", _N + _T + "x = np.memmap(tempfile.mkstemp()[1], 'f8', 'w+', shape=(4,))", None),
    ),
    *rows(
        "pandas",
        (
            "DataFrame of mixed columns",
            _P + "x = pd.DataFrame({'a': [1, 2], 'b': ['p', 'q'], 'c': [.5, None]})",
            "list(x.columns) == ['a', 'b', 'c'] and x['b'][1] == 'q' and x['c'].isna()[1]",
        ),
        (
            "text column (str dtype)",
            _P + "x = pd.Series(['a', None], dtype='str')",
            "x[0] == 'a' and x.isna()[1] and x.dtype == 'str'",
        ),
        ("nullable integers", _P + "x = pd.Series([1, None], dtype='Int64')", "x.dtype == 'Int64' and x.isna()[1]"),
        (
            "nullable text and booleans",
            _P + "x = pd.DataFrame({'s': pd.array(['a', None], 'string'), 'b': pd.array([True, None], 'boolean')})",
            "str(x.dtypes['b']) == 'boolean' and x['s'].isna()[1]",
        ),
        (
            "categorical, ordered",
            _P + "x = pd.Series(pd.Categorical(['lo', 'hi'], ['lo', 'hi'], ordered=True))",
            "x.cat.ordered and x.max() == 'hi'",
        ),
        (
            "MultiIndex",
            _P
            + "x = pd.DataFrame({'v': [1, 2]}, index=pd.MultiIndex.from_tuples([('a', 1), ('b', 2)], names=['k', 'n']))",
            "x.loc[('b', 2), 'v'] == 2 and list(x.index.names) == ['k', 'n']",
        ),
        (
            "DatetimeIndex with zone and frequency",
            _P + "x = pd.date_range('2024-01-01', periods=3, freq='D', tz='Asia/Seoul')",
            "x.freqstr == 'D' and str(x.tz) == 'Asia/Seoul'",
        ),
        (
            "Timestamp, Timedelta, Period, NaT, NA",
            _P + "x = [pd.Timestamp('2024'), pd.Timedelta('1D'), pd.Period('2024-01'), pd.NaT, pd.NA]",
            "x[3] is pd.NaT and x[4] is pd.NA and x[2].month == 1",
        ),
        (
            "PeriodIndex and IntervalIndex",
            _P + "x = [pd.period_range('2024-01', periods=2, freq='M'), pd.interval_range(0, 2)]",
            "x[0][1].month == 2 and 1.5 in x[1][1]",
        ),
        ("sparse", _P + "x = pd.Series(pd.arrays.SparseArray([0, 0, 1]))", "x.sparse.density == 1 / 3"),
        (
            "column and its frame copy on write",
            _P + "f = pd.DataFrame({'a': [1, 2]}); x = f['a']",
            "x.__setitem__(0, 9) or f['a'][0] == 1",
        ),
        (
            "one frame under two names",
            _P + "f = pd.DataFrame({'a': [1]}); x = f",
            "x.__setitem__('b', 2) or list(f.columns) == ['a', 'b']",
        ),
        (
            "attributes of a frame",
            _P + "x = pd.DataFrame({'a': [1]}); x.attrs['unit'] = 'm'",
            "x.attrs == {'unit': 'm'}",
        ),
        (
            "flags of a frame",
            _P + "x = pd.DataFrame({'a': [1]}).set_flags(allows_duplicate_labels=False)",
            "not x.flags.allows_duplicate_labels",
        ),
        (
            "duplicate columns",
            _P + "x = pd.DataFrame([[1, 2]], columns=['a', 'a'])",
            "list(x.columns) == ['a', 'a'] and x.iloc[0, 1] == 2",
        ),
        (
            "empty frame with dtypes",
            _P + "x = pd.DataFrame({'a': pd.Series(dtype='f4')})",
            "x.empty and x['a'].dtype == 'f4'",
        ),
        (
            "GroupBy",
            _P + "f = pd.DataFrame({'k': [1, 1, 2], 'v': [1, 2, 3]}); x = f.groupby('k')",
            "x['v'].sum()[1] == 3",
        ),
        ("rolling window", _P + "x = pd.Series([1., 2., 3.]).rolling(2)", "x.sum()[2] == 5"),
        ("Styler", _P + "x = pd.DataFrame({'a': [1]}).style.format('{:.1f}')", "'1.0' in x.to_html()"),
        ("frame of objects that are shared", _P + "a = [1]; x = pd.DataFrame({'o': [a, a]})", "x['o'][0] is a"),
        (
            "subclass of DataFrame",
            _P + "class F(pd.DataFrame):\n    @property\n    def _constructor(self): return F\nx = F({'a': [1]})",
            "type(x) is F and type(x[['a']]) is F",
        ),
    ),
    *rows(
        "scipy, scikit-learn, matplotlib",
        (
            "sparse CSR matrix",
            "import scipy.sparse as sp; x = sp.random(9, 9, .3, 'csr', random_state=1); s = x.sum()",
            "x.format == 'csr' and x.sum() == s",
        ),
        (
            "sparse COO array",
            "import scipy.sparse as sp; x = sp.coo_array(([1.], ([0], [1])), shape=(2, 2))",
            "x.toarray()[0, 1] == 1",
        ),
        ("frozen distribution", "import scipy.stats as st; x = st.norm(1, 2)", "x.mean() == 1"),
        (
            "interpolator",
            "from scipy.interpolate import CubicSpline; x = CubicSpline([0, 1, 2], [0, 1, 4])",
            "abs(x(1) - 1) < 1e-9",
        ),
        (
            "KD-tree",
            "from scipy.spatial import cKDTree; x = cKDTree([[0., 0.], [1., 1.]])",
            "x.query([.9, .9])[1] == 1",
        ),
        (
            "fitted linear model",
            _N
            + "from sklearn.linear_model import LinearRegression; x = LinearRegression().fit([[0.], [1.]], [0., 2.])",
            "abs(x.predict([[3.]])[0] - 6) < 1e-9",
        ),
        (
            "fitted random forest",
            _N
            + "from sklearn.ensemble import RandomForestClassifier; x = RandomForestClassifier(3, random_state=0).fit([[0.], [1.]] * 5, [0, 1] * 5); p = x.predict_proba([[.2]])",
            "(x.predict_proba([[.2]]) == p).all()",
        ),
        (
            "pipeline with a notebook function",
            _N
            + "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import FunctionTransformer, StandardScaler\nk = 2\ndef f(a): return a * k\nx = make_pipeline(FunctionTransformer(f), StandardScaler()).fit([[1.], [3.]])",
            "x.transform([[2.]])[0, 0] == 0",
        ),
        (
            "grid search",
            "from sklearn.model_selection import GridSearchCV\nfrom sklearn.tree import DecisionTreeClassifier\nx = GridSearchCV(DecisionTreeClassifier(), {'max_depth': [1, 2]}, cv=2).fit([[0], [1]] * 4, [0, 1] * 4)",
            "x.best_params_['max_depth'] in (1, 2) and x.predict([[1]])[0] == 1",
        ),
        (
            "estimator of the notebook",
            "from sklearn.base import BaseEstimator\nclass E(BaseEstimator):\n    def __init__(self, a=1): self.a = a\nx = E(5)",
            "x.get_params() == {'a': 5}",
        ),
        ("Bunch of a data set", "from sklearn.datasets import load_iris; x = load_iris()", "x.data.shape == (150, 4)"),
        (
            "matplotlib figure",
            "import matplotlib; matplotlib.use('agg')\nfrom matplotlib.figure import Figure\nx = Figure(); x.subplots().plot([1, 2])",
            "list(x.axes[0].lines[0].get_ydata()) == [1, 2]",
        ),
        (
            "pyplot figure and its axes",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\nx, ax = plt.subplots(); ax.plot([1, 3])",
            "x.axes[0] is ax",
        ),
        ("colour map", "import matplotlib; x = matplotlib.colormaps['viridis']", "x(0.0)[3] == 1"),
    ),
    *rows(
        "IPython and other libraries",
        ("IPython.display.HTML", "from IPython.display import HTML; x = HTML('<b>')", "x.data == '<b>'"),
        (
            "IPython.display.Image",
            "from IPython.display import Image; x = Image(data=b'\\x89PNG\\r\\n\\x1a\\n', format='png')",
            "x.data[:4] == b'\\x89PNG'",
        ),
        (
            "Pillow image",
            "from PIL import Image; x = Image.new('RGB', (2, 2), 'red')",
            "x.getpixel((1, 1)) == (255, 0, 0)",
        ),
        (
            "pydantic model of the notebook",
            "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = 1\nx = M(a=3)",
            "x.a == 3 and M(a='4').a == 4 and type(x) is M",
        ),
        ("attrs class of the notebook", "import attrs\n@attrs.define\nclass A:\n    a: int\nx = A(3)", "x == A(3)"),
        (
            "sorted containers",
            "from sortedcontainers import SortedDict; x = SortedDict(b=1, a=2)",
            "list(x) == ['a', 'b']",
        ),
        ("requests.Session", "import requests; x = requests.Session(); x.headers['a'] = 'b'", "x.headers['a'] == 'b'"),
        ("tqdm bar", "import io\nfrom tqdm import tqdm; x = tqdm([1], file=io.StringIO())", None),
    ),
]
