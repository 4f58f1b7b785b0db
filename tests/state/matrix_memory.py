"""The part of the fidelity matrix about one memory under several objects: values of C, bytes, tensors, Arrow's buffers."""
# ruff: noqa: E501 - the source of a cell is one text

from tests.state.rows import Row, rows

_C = "import array, ctypes\nimport numpy as np\n"
_POINT = _C + "class P(ctypes.Structure): _fields_=[('n',ctypes.c_int)]\n"
_TORCH = _C + "import torch\n"
_ARROW = _C + "import pyarrow as pa\n"
_ON_OTHERS = "One memory under several objects"

MEMORY_ROWS = [
    *rows(
        _ON_OTHERS,
        (
            "array on a bytearray in a list",
            _C + "l=[bytearray(80)]; x=np.frombuffer(l[0])",
            "l[0].__setitem__(slice(8,16),b'a'*8) or x[1]!=0",
        ),
        (
            "array on an array.array in an attribute",
            _C + "class A: pass\no=A(); o.a=array.array('d',[0]*9); x=np.frombuffer(o.a)",
            "o.a.__setitem__(1,5.) or x[1]==5",
        ),
        (
            "array and array.array in closures",
            _C
            + "def make():\n    a=array.array('d',[0]*9); v=np.frombuffer(a)\n    return (lambda i,n: a.__setitem__(i,n)), (lambda i: v[i])\nput,x=make()",
            "put(1,5.) or x(1)==5",
        ),
        (
            "memoryview of an array.array",
            _C + "a=array.array('d',[0]*9); x=memoryview(a)[2:]",
            "a.__setitem__(3,5.) or x[1]==5",
        ),
        (
            "C array on a bytearray",
            _C + "b=bytearray(80); x=(ctypes.c_double*10).from_buffer(b)",
            "x.__setitem__(1,5.) or b[8:16]!=bytes(8)",
        ),
        (
            "C array on a part of a bytearray in a list",
            _C + "l=[bytearray(80)]; x=[(ctypes.c_double*3).from_buffer(l[0],8)]",
            "x[0].__setitem__(0,5.) or l[0][8:16]!=bytes(8)",
        ),
        (
            "two C arrays on one bytearray that nobody names",
            _C + "b=bytearray(80); x=(ctypes.c_double*10).from_buffer(b); y=(ctypes.c_int*20).from_buffer(b); del b",
            "y.__setitem__(3,1<<30) or x[1]!=0",
        ),
        (
            "C array on a numpy array",
            _C + "a=np.zeros(9); x=np.ctypeslib.as_ctypes(a)",
            "x.__setitem__(1,5.) or a[1]==5",
        ),
        (
            "C array at the address of a numpy array in a list",
            _C + "l=[np.zeros(9)]; x=(ctypes.c_double*3).from_address(l[0].ctypes.data+8)",
            "x.__setitem__(1,5.) or l[0][2]==5",
        ),
        (
            "C structure on a bytearray",
            _POINT + "b=bytearray(8); x=P.from_buffer(b,4); x.note='k'",
            "(setattr(x,'n',5) or b[4]==5) and x.note=='k'",
        ),
        (
            "what a C pointer points to",
            _C + "a=ctypes.c_int(1); x=ctypes.pointer(a).contents",
            "setattr(x,'value',50) or a.value==50",
        ),
        (
            "structure inside a C structure",
            _POINT + "class S(ctypes.Structure): _fields_=[('a',ctypes.c_int),('p',P)]\ns=S(); x=s.p",
            "setattr(x,'n',5) or s.p.n==5",
        ),
        (
            "element of a C array of structures",
            _POINT + "x=(P*4)(); y=[x[1],x[1]]",
            "setattr(y[0],'n',5) or (x[1].n==5 and y[1].n==5)",
        ),
        (
            "array inside a C structure",
            _C + "class S(ctypes.Structure): _fields_=[('a',ctypes.c_int*4)]\ns=S(); x=s.a",
            "x.__setitem__(1,5) or s.a[1]==5",
        ),
        (
            "C array at an address that nobody names",
            _C
            + "import sys\nk=np.zeros(9); x=(ctypes.c_double*3).from_address(k.ctypes.data); sys.kept_for_x=k; del k",
            None,
        ),
        ("C array that was given more memory", _C + "x=(ctypes.c_int*4)(); ctypes.resize(x,80)", None),
        ("C pointer into a C array", _C + "a=(ctypes.c_int*4)(); x=ctypes.cast(a,ctypes.POINTER(ctypes.c_int))", None),
        ("array of shared memory of processes", "import multiprocessing\nx=multiprocessing.RawArray('d',10)", None),
    ),
    *(
        Row(_ON_OTHERS, kind, source, check, "torch")
        for kind, source, check in (
            (
                "tensor on a bytearray in a list",
                _TORCH + "l=[bytearray(80)]; x=torch.frombuffer(l[0],dtype=torch.float64)",
                "x.__setitem__(1,5.) or l[0][8:16]!=bytes(8)",
            ),
            (
                "tensor on a part of an array.array in an attribute",
                _TORCH
                + "class A: pass\no=A(); o.a=array.array('d',[0]*9); x=torch.frombuffer(o.a,dtype=torch.float64,offset=16,count=3)",
                "x.__setitem__(1,5.) or o.a[3]==5",
            ),
            (
                "tensor and bytearray in closures",
                _TORCH
                + "def make():\n    b=bytearray(80); t=torch.frombuffer(b,dtype=torch.float64)\n    return (lambda i,n: t.__setitem__(i,n)), (lambda: b)\nput,x=make()",
                "put(1,5.) or x()[8:16]!=bytes(8)",
            ),
            (
                "tensor on a C structure in a list",
                _TORCH
                + "class S(ctypes.Structure): _fields_=[('a',ctypes.c_double*4)]\nl=[S()]; x=torch.frombuffer(l[0],dtype=torch.float64)",
                "x.__setitem__(1,5.) or l[0].a[1]==5",
            ),
            (
                "array of a tensor on a bytearray in a list",
                _TORCH + "l=[bytearray(80)]; t=[torch.frombuffer(l[0],dtype=torch.float64)]; x=t[0].numpy()",
                "x.__setitem__(1,5.) or (l[0][8:16]!=bytes(8) and bool(t[0][1]==5))",
            ),
            (
                "two tensors on one bytearray that nobody names",
                _TORCH
                + "b=bytearray(80); x=torch.frombuffer(b,dtype=torch.float64); y=torch.frombuffer(b,dtype=torch.float64,offset=16); del b",
                "x.__setitem__(2,5.) or bool(y[0]==5)",
            ),
        )
    ),
    Row(
        _ON_OTHERS,
        "two tensors on one bytearray that nobody names, with a part in common",
        _TORCH
        + "b=bytearray(80); x=torch.frombuffer(b,dtype=torch.float64,count=5); y=torch.frombuffer(b,dtype=torch.float64,offset=16); del b",
        None,
        "torch",
        "x (inside it, a UntypedStorage): a tensor on a part of another tensor's memory; x.clone() can be saved",
    ),
    *(
        Row(_ON_OTHERS, kind, source, check, "pyarrow")
        for kind, source, check in (
            (
                "Arrow buffer on a bytearray in a list",
                _ARROW + "l=[bytearray(80)]; x=pa.py_buffer(l[0]).slice(8)",
                "l[0].__setitem__(8,5) or x.to_pybytes()[0]==5",
            ),
            (
                "Arrow buffer by an address",
                _ARROW
                + "l=[bytearray(80)]; c=(ctypes.c_char*80).from_buffer(l[0]); x=pa.foreign_buffer(ctypes.addressof(c),80,l); del c",
                "l[0].__setitem__(0,5) or x.to_pybytes()[0]==5",
            ),
            (
                "Arrow array on a numpy array",
                _ARROW + "a=np.zeros(9); x=pa.array(a)",
                "a.__setitem__(0,5.) or x[0].as_py()==5",
            ),
            (
                "arrays on a writable Arrow buffer",
                _ARROW + "b=pa.allocate_buffer(80); x=np.frombuffer(b); y=np.frombuffer(b)",
                "x.__setitem__(0,5.) or y[0]==5",
            ),
        )
    ),
]
