"""The part of the fidelity matrix about objects that their own way of being pickled would alter, and what is one for a
process.
"""
# ruff: noqa: E501 - the source of a cell is one text

from tests.state.rows import rows

ALTERED_ROWS = [
    *rows(
        "Attributes that are held besides, or that Python's own pickling forgets",
        (
            "attributes of an exception, as a dictionary",
            "x=ValueError('a'); x.k=1; d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes of a Counter, as a dictionary, none yet",
            "from collections import Counter\nx=Counter('a'); d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes of a list of an own class, as a dictionary, none yet",
            "class I(list): pass\nx=I(); d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes of an exception with an __init__, as a dictionary",
            "class E(Exception):\n    def __init__(s,a,*,b): super().__init__(a); s.b=b\nx=E('a',b=2); d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes of an int with its own __new__, as a dictionary",
            "class I(int):\n    def __new__(c,v): return int.__new__(c,v)\nx=I(3); x.k=1; d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes of a tuple's subclass, as a dictionary",
            "class I(tuple): pass\nx=I([3]); x.k=1; d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes of a function, as a dictionary",
            "def x(): pass\nx.k=1; d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes that __getstate__ gives, as a dictionary",
            "class E:\n    def __init__(s): s.a=1\n    def __getstate__(s): return s.__dict__\nx=E(); d=vars(x)",
            "d.__setitem__('z',3) or x.z==3",
        ),
        (
            "attributes that __setstate__ copies, as a dictionary",
            "class E:\n    def __init__(s): s.a=1\n    def __setstate__(s,st): s.__dict__.update(st)\nx=E(); d=vars(x)",
            None,
        ),
        (
            "attributes of a scikit-learn model, as a dictionary",
            "from sklearn.linear_model import Ridge\nx=Ridge(); d=vars(x)",
            None,
        ),
        ("attributes of a StringIO, as a dictionary", "import io\nx=io.StringIO('x'); x.k=1; d=vars(x)", None),
        (
            "names of a module made by hand, as a dictionary",
            "import types\nx=types.ModuleType('x'); x.k=1; d=vars(x)",
            None,
        ),
        (
            "attributes of an enumeration's member, as a dictionary",
            "import enum\nclass C(enum.Enum):\n    A=1\nx=vars(C.A)",
            None,
        ),
        ("names of a class", "class C: a=1\nx=vars(C)", "setattr(C,'b',2) or x['b']==2"),
        (
            "date with an attribute",
            "import datetime\nclass D(datetime.date): pass\nx=D(2020,1,2); x.note=[1]; y=x.note",
            "x.note is y and x.year==2020",
        ),
        (
            "date with a slot",
            "import datetime\nclass D(datetime.date): __slots__=('note',)\nx=D(2020,1,2); x.note=[1]; y=x.note",
            "x.note is y and x.year==2020",
        ),
        (
            "Decimal with an attribute",
            "import decimal\nclass D(decimal.Decimal): pass\nx=D('3.4'); x.n=4",
            "x.n==4 and str(x)=='3.4' and type(x) is D",
        ),
        (
            "path with an attribute",
            "import pathlib\nclass D(pathlib.PosixPath): pass\nx=D('/a'); x.n=4",
            "x.n==4 and str(x)=='/a'",
        ),
        (
            "IP address with an attribute",
            "import ipaddress\nclass I(ipaddress.IPv4Address): pass\nx=I('1.2.3.4'); x.n=3",
            "x.n==3 and str(x)=='1.2.3.4'",
        ),
        (
            "random generator with an __init__ and attributes",
            "import random\nclass R(random.Random):\n    def __init__(s,seed=1): super().__init__(seed); s.k=[1]\nx=R(3); x.k.append(2); x.random(); y=random.Random(); y.setstate(x.getstate())",
            "x.k==[1,2] and x.random()==y.random()",
        ),
        ("Counter with an attribute", "import collections\nx=collections.Counter('aa'); x.n=1", "x.n==1 and x['a']==2"),
        (
            "bytearray whose __init__ asks for two arguments",
            "class S(bytearray):\n    def __init__(s,a,b): super().__init__(a+b)\nx=S(b'a',b'c'); x.q=1",
            "x==b'ac' and x.q==1 and type(x) is S",
        ),
        (
            "str with a slot",
            "class S(str):\n    __slots__=('a',)\n    def __new__(c,v): return str.__new__(c,v)\nx=S('q'); x.a=5",
            "x.a==5 and x=='q'",
        ),
        (
            "attribute of a frame",
            "import pandas as pd, numpy as np\nx=pd.DataFrame({'a':[1]}); object.__setattr__(x,'note',[1]); y=x.note; s=x.a.astype(str); s.str",
            "x.note is y",
        ),
        (
            "attribute of a masked array",
            "import numpy as np\nx=np.ma.masked_array([1,2],mask=[0,1]); x.note=1",
            "x.note==1 and x.mask[1]",
        ),
        (
            "AttributeError with its name",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\no=[]\ntry: o.zz\nexcept AttributeError as e: x=e",
            "x.name=='zz'",
        ),
        (
            "slots behind a __setattr__ that refuses",
            "class A:\n    __slots__=('a',)\n    def __init__(s): object.__setattr__(s,'a',1)\n    def __setattr__(s,n,v): raise AttributeError\nx=A()",
            "x.a==1",
        ),
        (
            "slots behind a __setattr__ that counts",
            "class A:\n    log=[]\n    __slots__=('a',)\n    def __init__(s): s.a=1\n    def __setattr__(s,n,v): s.log.append(n); object.__setattr__(s,n,v)\nx=A()",
            "x.a==1 and A.log==['a']",
        ),
    ),
    *rows(
        "How objects are made",
        (
            "object whose __new__ asks for arguments",
            "class A:\n    def __new__(cls, v): return object.__new__(cls)\n    def __init__(s, v): s.v=v\nx=A([1]); d=vars(x); y=[A(i) for i in range(5000)]",
            "x.v==[1] and d is vars(x) and y[-1].v==4999",
        ),
        (
            "object whose __new__ asks for arguments, in a set that it holds",
            "class A:\n    def __new__(cls, v): return object.__new__(cls)\n    def __init__(s, v): s.v=v; s.all={s}\n    def __hash__(s): return hash(s.v)\nx=A(3)",
            "x in x.all",
        ),
        (
            "object of a class that counts in __new__",
            "class A:\n    made=0\n    def __new__(cls): A.made+=1; return object.__new__(cls)\nx=A(); y=A()",
            "A.made==2 and type(x) is type(y) is A",
        ),
        (
            "class inside a function or a class",
            "def f():\n    class A: pass\n    return A\nclass B:\n    class C: pass\nx=f(); y=B.C",
            "x.__qualname__=='f.<locals>.A' and y.__qualname__=='B.C' and y is B.C",
        ),
        (
            "attributes that are reached before their object",
            "class A:\n    def __getstate__(s): return s.__dict__\nx=A(); x.me=[x]; x.v=1; a=vars(x)",
            "a is vars(x) and x.v==1 and x.me[0] is x",
        ),
        (
            "the one object of its class",
            "class A:\n    one=None\n    def __new__(cls):\n        if cls.one is None: cls.one=object.__new__(cls)\n        return cls.one\nx=A(); x.k=[1]; y=[A()]",
            "x is A() is y[0] and x.k==[1]",
        ),
    ),
    *rows(
        "What an object's own way of being pickled copies or leaves out",
        (
            "list that __getstate__ copies",
            "class B:\n    def __init__(s): s.items=[1]\n    def __getstate__(s): return {'items':list(s.items)}\nx=B(); y=x.items",
            "x.items is y",
        ),
        (
            "list that __getstate__ copies, beside its object in a list",
            "class B:\n    def __init__(s): s.items=[1]\n    def __getstate__(s): return {'items':list(s.items)}\nb=B(); x=[b,b.items]; del b",
            "x[0].items is x[1]",
        ),
        (
            "list that __getstate__ keeps in another object",
            "class H:\n    def __init__(s,i): s.i=i\nclass B:\n    def __init__(s,h): s.items=h.i\n    def __reduce__(s): return B,(H(s.items),)\nx=B(H([1])); y=x.items",
            "x.items is y",
        ),
        (
            "array in a slot that __getstate__ copies",
            "import numpy as np\nclass B:\n    __slots__=('a',)\n    def __init__(s): s.a=np.arange(5)\n    def __getstate__(s): return None,{'a':s.a.copy()}\nx=B(); y=x.a",
            "x.a is y",
        ),
        (
            "functions that __getstate__ leaves out",
            "class B:\n    def __getstate__(s): return {}\nx=B(); f=lambda: 3; x.hooks={'a':[f]}",
            "x.hooks['a'][0] is f",
        ),
        (
            "objects that leave each other out",
            "class B:\n    def __getstate__(s): return {}\nx,y=B(),B(); x.o=y; y.o=x",
            "x.o is y and y.o is x",
        ),
        (
            "element of a large list that __getstate__ copies",
            "class B:\n    def __getstate__(s): return {'items':list(s.items)}\ny=[[i] for i in range(100_000)]; x=B(); x.items=y[77]",
            "x.items is y[77]",
        ),
        (
            "list that __getstate__ leaves out, beside a lock",
            "import threading\nclass B:\n    def __getstate__(s): return {}\nx=B(); y=[1]; x.held=[y,threading.Lock()]",
            None,
        ),
        (
            "list that a closure of what __getstate__ leaves out holds",
            "def made(a): return lambda: a\nclass H: __slots__=('f','__weakref__')\nclass B:\n    def __getstate__(s): return {}\ny=[1]; x=B(); x.h=[[[[[H()]]]]]; x.h[0][0][0][0][0].f=made(y)",
            None,
        ),
        (
            "canvas and window of a figure",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\nx=plt.figure(); y=x.canvas; z=y.manager",
            "x.canvas is y and y.figure is x and y.manager is z",
        ),
        (
            "slider and what observes it",
            "import ipywidgets\nx=ipywidgets.IntSlider(); seen=[]\ndef f(c): seen.append(c)\nx.observe(f,'value')",
            None,
        ),
    ),
    *rows(
        "Hashes before the rest",
        (
            "hash circle of objects with their own __setstate__",
            "class K:\n    n='d'\n    def __init__(s,n): s.n=n; s.near=set()\n    def __hash__(s): return hash(s.n)\n    def __eq__(s,o): return s.n==o.n\n    def __getstate__(s): return dict(s.__dict__)\n    def __setstate__(s,st): s.__dict__.update(st)\nh,k=K('h'),K('k'); h.near.add(k); k.near.add(h); x=[h,k]",
            None,
        ),
        (
            "hash circle of objects with their own __reduce__",
            "class K:\n    n='d'\n    def __init__(s,n='q'): s.n=n; s.near=set()\n    def __hash__(s): return hash(s.n)\n    def __eq__(s,o): return s.n==o.n\n    def __reduce__(s): return K, (), dict(s.__dict__)\nh,k=K('h'),K('k'); h.near.add(k); k.near.add(h); x=[h,k]",
            "h in k.near and k in h.near",
        ),
        (
            "hash circle of objects with slots",
            "class K:\n    __slots__=('n','near')\n    def __init__(s,n): s.n=n; s.near=set()\n    def __hash__(s): return hash(getattr(s,'n','d'))\n    def __eq__(s,o): return s.n==o.n\nh,k=K('h'),K('k'); h.near.add(k); k.near.add(h); x=[h,k]",
            "h in k.near and k in h.near",
        ),
        (
            "hash circle of dictionaries",
            "class K(dict):\n    n='d'\n    def __hash__(s): return hash(s.n)\n    def __eq__(s,o): return s.n==o.n\nh,k=K(),K(); h.n='h'; k.n='k'; h[k]=1; k[h]=1; x=[h,k]",
            None,
        ),
        (
            "hash circle of frozen dataclasses with slots",
            "import dataclasses\n@dataclasses.dataclass(frozen=True, slots=True)\nclass K:\n    n: str='d'\n    near: set=dataclasses.field(default_factory=set, compare=False)\nh,k=K('h'),K('k'); h.near.add(k); k.near.add(h); x=[h,k]",
            "h in k.near and k in h.near",
        ),
    ),
    *rows(
        "What is one in this process",
        (
            "module made by hand with functions of its own",
            "import types\nx=types.ModuleType('x'); exec('k=1\\ndef f(): return k', x.__dict__)",
            "x.f()==1 and (setattr(x,'k',5) or x.f()==5)",
        ),
        (
            "functions of exec and their namespace",
            "ns={'__name__':'zz'}\nexec('k=1\\ndef f(): return k\\ndef g():\\n    global k\\n    k+=1', ns)\nf=ns['f'];g=ns['g']",
            "g() or (f()==2 and ns['k']==2 and ns['f'] is f)",
        ),
        (
            "function of exec among what cannot be saved",
            "import threading\nns={'lock':threading.Lock()}; exec('k=2\\ndef x(): return k',ns); x=ns['x']; del ns",
            "x()==2",
        ),
        (
            "order of a class's attributes",
            "class x:\n    b=1\n    def m(self): pass\n    a=2",
            "[name for name in vars(x) if name in 'abm']==['b','m','a']",
        ),
        (
            "functions of exec that share a global",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\nns={}; exec('k=0\\ndef f():\\n    global k\\n    k+=1\\n    return k\\ndef g(): return k',ns); f=ns['f']; g=ns['g']; del ns",
            "f()==1 and g()==1",
        ),
        (
            "function of the random module",
            "import random\nfrom random import choice as x, seed",
            "(random.seed(1) or x(range(1000)))==(seed(1) or random.choice(range(1000)))",
        ),
        (
            "random generator of the person's",
            "import random\nx=random.Random(1); y=random.Random(1).random()",
            "x.random()==y and x is not random._inst",
        ),
        (
            "numpy's own random generator",
            "import numpy as np\nx=np.random.mtrand._rand; y=np.random.rand",
            "x is np.random.mtrand._rand and (np.random.seed(1) or y())==(np.random.seed(1) or np.random.rand())",
        ),
        ("sys.path", "import sys\nx=sys.path; y=[x]", "x is __import__('sys').path is y[0]"),
        ("sys.modules", "import sys\nx=sys.modules", "x is __import__('sys').modules"),
        (
            "warnings.filters in a list",
            "import warnings\nx=[warnings.filters]",
            "x[0] is __import__('warnings').filters",
        ),
        (
            "handlers of the root logger",
            "import logging\nx=logging.root.handlers",
            "x is __import__('logging').root.handlers",
        ),
        ("what os.environ holds", "import os\nx=os.environ._data", "x is __import__('os').environ._data"),
        ("names of an imported module", "import string\nx=vars(string)", "x is vars(__import__('string'))"),
        ("names of Python itself", "import builtins\nx=vars(builtins)", "x is vars(__import__('builtins'))"),
        (
            "number of a figure and what it calls",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\nx=plt.figure(7); y=x.subplots(); seen=[]\ndef f(e): seen.append(e)\nc=y.callbacks.connect('xlim_changed',f); d=x.canvas.mpl_connect('close_event',f)",
            "x.number==7 and plt.figure(7) is x and y.set_xlim(0,5) and seen==[y] and (x.canvas.callbacks.process('close_event',1) or seen[1]==1)",
        ),
        (
            "slider of matplotlib and what it calls",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\nfrom matplotlib.widgets import Slider\ny=plt.figure().subplots(); x=Slider(y,'a',0,1); seen=[]; x.on_changed(seen.append)",
            "x.set_val(.5) or seen==[.5]",
        ),
        (
            "figure that hears of a changed line, and its window",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\nx,y=plt.subplots(); z,=y.plot([1,2]); x.canvas.draw()",
            "x.stale_callback is __import__('matplotlib.pyplot').pyplot._auto_draw_if_interactive and (x.canvas.draw() or not x.stale) and (z.set_ydata([3,4]) or x.stale)",
        ),
        (
            "colorbar of an image, and one norm of two",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt, numpy as np\nf,a=plt.subplots(1,2); z=plt.Normalize(0,9); x=a[0].imshow(np.eye(3),norm=z); w=a[1].scatter([1],[2],c=[3],norm=z); y=f.colorbar(x); f.canvas.draw()",
            "x.set_clim(0,3) or (y.vmax==3 and w.norm is x.norm is z and x.stale and w.stale and f.stale)",
        ),
        (
            "what a figure calls for a new plot, and a line when it changes",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt, numpy as np\nx=plt.figure(); y,=x.subplots().plot([1]); seen=[]\ndef f(e): seen.append(e)\nx.add_axobserver(f); y.add_callback(f)",
            "(y.pchanged(),seen==[y],x.add_subplot(),seen[-1] is x)[1::2]==(True,True)",
        ),
        (
            "settings of matplotlib",
            "import matplotlib\nx=matplotlib.rcParams; x['svg.hashsalt']='q'",
            "x is matplotlib.rcParams and x['svg.hashsalt']=='q'",
        ),
        (
            "colour maps of matplotlib",
            "import matplotlib\nx=matplotlib.colormaps; x.register(matplotlib.colors.ListedColormap(['red'],name='dure_red'),force=True)",
            "x is matplotlib.colormaps and x['dure_red'].N==1",
        ),
        (
            "logger with handlers",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\nimport logging\nx=logging.getLogger('bbb'); x.addHandler(logging.NullHandler()); x.setLevel(7)",
            None,
        ),
        (
            "TypeVarTuple",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\nx=typing.TypeVarTuple('Ts')",
            "x.__name__=='Ts'",
        ),
        (
            "itertools.cycle amid a round",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\nx=itertools.cycle([1,2,3]); [next(x) for _ in range(5)]",
            "[next(x) for _ in range(3)]==[3,1,2]",
        ),
        (
            "set of weak references to what is saved",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\nclass A: pass\na=A(); x=weakref.WeakSet([a])",
            "a in x",
        ),
        (
            "method that its object hides by an attribute",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\nclass A:\n    def m(s): return 1\nx=A(); y=x.m; x.m=lambda: 2",
            "y()==1 and x.m()==2",
        ),
        (
            "docstring taken away",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\ndef x(): 'a'\nx.__doc__=None",
            "x.__doc__ is None",
        ),
        (
            "instance and alias of a generic class",
            "import functools,itertools,collections,types,typing,enum,dataclasses,weakref\nT=typing.TypeVar('T')\nclass B(typing.Generic[T]): pass\nx=B[int](); y=B[int]",
            "x.__orig_class__==B[int] and y.__origin__ is B and B.__parameters__==(T,)",
        ),
    ),
    *rows(
        "Memory of arrays seen in other ways",
        (
            "writable view of an array of objects that was locked later",
            "import numpy as np\na=np.array([[1],'b',None,{}],dtype=object); x=a[1:3]; a.flags.writeable=False",
            "x.flags.writeable and not a.flags.writeable and (x.__setitem__(0,'zz') or a[1]=='zz')",
        ),
        (
            "writable view of a column of labels that was locked later",
            "import numpy as np\na=np.array(['a','b']*5000,dtype=object); x=a[1:3]; a.flags.writeable=False",
            "x.flags.writeable and not a.flags.writeable and (x.__setitem__(0,'zz') or a[1]=='zz')",
        ),
        (
            "writable view of an array of texts that was locked later",
            "import numpy as np\na=np.array(['a','b']*50,dtype=np.dtypes.StringDType()); x=a[1:3]; a.flags.writeable=False",
            "x.flags.writeable and not a.flags.writeable and (x.__setitem__(0,'zz') or a[1]=='zz')",
        ),
        (
            "array on a memoryview of an array",
            "import numpy as np\na=np.arange(10.); x=np.asarray(memoryview(a))",
            "a.__setitem__(1,77.) or x[1]==77",
        ),
        (
            "array by DLPack",
            "import numpy as np\na=np.arange(4.); x=np.from_dlpack(a)",
            "a.__setitem__(1,77.) or x[1]==77",
        ),
        (
            "array by __array_interface__",
            "import numpy as np\nclass A:\n    def __init__(s): s.a=np.arange(4.)\n    @property\n    def __array_interface__(s): return s.a.__array_interface__\no=A(); x=np.asarray(o)",
            "o.a.__setitem__(1,77.) or x[1]==77",
        ),
        (
            "array on a C pointer into an array",
            "import numpy as np\nimport ctypes\na=np.arange(4.); x=np.ctypeslib.as_array(a.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),(4,))",
            "a.__setitem__(1,77.) or x[1]==77",
        ),
        (
            "two arrays on one C pointer",
            "import numpy as np, ctypes\nb=(ctypes.c_double*10)(); p=ctypes.cast(b,ctypes.POINTER(ctypes.c_double)); a=np.ctypeslib.as_array(p,(10,))[::2]; x=np.ctypeslib.as_array(p,(10,)); del b,p",
            "a.__setitem__(1,7.) or x[2]==7",
        ),
        (
            "array on a part of what another is on, by C pointers",
            "import numpy as np, ctypes\nclass P:\n    def __init__(s,b,n): s.__array_interface__={**np.ctypeslib.as_array(b).__array_interface__,'shape':(6,)}; s.__array_interface__['data']=(ctypes.addressof(b)+8*n,False); s.b=b\nb=(ctypes.c_double*10)(); a=np.asarray(P(b,0)); x=np.asarray(P(b,3)); del b,P",
            None,
        ),
        (
            "two arrays on C arrays made from one bytearray",
            "import numpy as np, ctypes\nb=bytearray(80); a=np.frombuffer((ctypes.c_double*10).from_buffer(b)); x=np.frombuffer((ctypes.c_double*10).from_buffer(b))",
            "a.__setitem__(1,7.) or (x[1]==7 and b[8:16]!=bytes(8))",
        ),
        (
            "arrays on a field of a C structure",
            "import numpy as np, ctypes\nclass S(ctypes.Structure): _fields_=[('n',ctypes.c_int),('a',ctypes.c_double*4)]\ns=S(); a=np.ctypeslib.as_array(s.a); x=np.ctypeslib.as_array(s.a)",
            "a.__setitem__(1,7.) or (x[1]==7 and s.a[1]==7)",
        ),
        (
            "arrays on a BytesIO",
            "import numpy as np, io\nb=io.BytesIO(bytes(80)); a=np.frombuffer(b.getbuffer()); x=np.frombuffer(b.getbuffer()[8:])",
            "a.__setitem__(1,7.) or (x[0]==7 and b.getvalue()[8:16]!=bytes(8))",
        ),
        (
            "two arrays by DLPack of memory that nobody names",
            "import numpy as np\no=np.arange(4.); a=np.from_dlpack(o); x=[np.from_dlpack(o)]; del o",
            "a.__setitem__(1,77.) or x[0][1]==77",
        ),
        (
            "two arrays by one __array_interface__ of memory that nobody names",
            "import numpy as np\nclass A: pass\no=A(); o.m=np.arange(4.); o.__array_interface__=o.m.__array_interface__; a=np.asarray(o); x=np.asarray(o); del o,A",
            "a.__setitem__(1,77.) or x[1]==77",
        ),
        (
            "record of a structured array",
            "import numpy as np\na=np.zeros(2,dtype=[('a','i4')]); x=a[1]",
            "x.__setitem__('a',5) or a[1]['a']==5",
        ),
        (
            "record of a recarray",
            "import numpy as np\na=np.zeros(3,dtype=[('a','i4'),('b','f8')]).view(np.recarray); x=a[1:][1]",
            "type(x) is np.record and (setattr(x,'b',5.) or a[2]['b']==5)",
        ),
    ),
]
