"""The part of the fidelity matrix that needs libraries which are not always installed.

The page tells of them from what is declared here; where a library is installed, the test holds it against what is so.
"""
# ruff: noqa: E501 - the source of a cell is one text

from tests.state.rows import Row

_TORCH = "import torch\n"
_JAX = "import jax, jax.numpy as jnp\n"
_PYARROW = "import pyarrow as pa, pandas as pd\n"


def _rows(section: str, needs: str, before: str, *kinds: tuple[str, str, str | None, str]) -> list[Row]:
    return [Row(section, kind, before + source, check, needs, reason) for kind, source, check, reason in kinds]


LIBRARY_ROWS = [
    *_rows(
        "PyTorch",
        "torch",
        _TORCH,
        ("tensor", "x=torch.arange(6.).reshape(2,3); y=x", "x is y and x.tolist()==[[0,1,2],[3,4,5]]", ""),
        (
            "large tensor and a view",
            "x=torch.ones(500_000); y=x[10:]",
            "y.data_ptr()==x[10:].data_ptr() and float(x.sum())==500000",
            "",
        ),
        (
            "transposed view shares its storage",
            "x=torch.zeros(3,4); y=x.t()",
            "x.fill_(2) is x and float(y.sum())==24",
            "",
        ),
        ("bfloat16", "x=torch.ones(4,dtype=torch.bfloat16)", "x.dtype==torch.bfloat16 and x.tolist()==[1]*4", ""),
        (
            "half, complex, bool",
            "x=[torch.ones(2,dtype=d) for d in (torch.float16,torch.complex64,torch.bool,torch.int8)]",
            "[str(t.dtype) for t in x]==['torch.float16','torch.complex64','torch.bool','torch.int8']",
            "",
        ),
        (
            "tensor on a numpy array's memory",
            "import numpy as np\nx=np.zeros(5); y=torch.from_numpy(x)",
            "x.__setitem__(0,7) or float(y[0])==7",
            "",
        ),
        ("array on a tensor's memory", "x=torch.zeros(5); y=x.numpy()", "x.fill_(3) is x and y[0]==3", ""),
        (
            "large tensor on a numpy array's memory",
            "import numpy as np\nx=np.zeros(500_000); y=torch.from_numpy(x)",
            "x.__setitem__(0,7) or float(y[0])==7",
            "",
        ),
        (
            "Parameter",
            "x=torch.nn.Parameter(torch.ones(2))",
            "isinstance(x,torch.nn.Parameter) and x.requires_grad",
            "",
        ),
        (
            "leaf with its gradient",
            "x=torch.ones(2,requires_grad=True); (x*2).sum().backward()",
            "x.grad.tolist()==[2,2]",
            "",
        ),
        (
            "tensor with its autograd graph",
            "w=torch.ones(2,requires_grad=True); x=w*2",
            None,
            "x: a tensor with its autograd graph; its .detach() can be saved",
        ),
        ("sparse COO", "x=torch.eye(3).to_sparse()", "x.is_sparse and x.to_dense().sum()==3", ""),
        ("sparse CSR", "x=torch.eye(3).to_sparse_csr()", "x.to_dense().sum()==3", ""),
        (
            "quantized",
            "x=torch.quantize_per_tensor(torch.ones(2),.1,0,torch.qint8)",
            "x.dequantize().tolist()[0]>.9",
            "",
        ),
        (
            "module with tied weights",
            "x=torch.nn.Sequential(torch.nn.Linear(3,3),torch.nn.Linear(3,3)); x[1].weight=x[0].weight",
            "x[1].weight is x[0].weight",
            "",
        ),
        (
            "module of the notebook",
            "class N(torch.nn.Module):\n    def __init__(s):\n        super().__init__(); s.l=torch.nn.Linear(2,2); s.register_buffer('b',torch.ones(1))\n    def forward(s,v): return s.l(v)+s.b\nx=N()",
            "isinstance(x,N) and x(torch.zeros(1,2)).shape==(1,2)",
            "",
        ),
        (
            "optimizer shares the module's parameters",
            "m=torch.nn.Linear(2,2); x=torch.optim.AdamW(m.parameters()); m(torch.ones(1,2)).sum().backward(); x.step()",
            "x.param_groups[0]['params'][0] is m.weight and x.state[m.weight]['step']==1",
            "",
        ),
        (
            "scheduler shares its optimizer",
            "m=torch.nn.Linear(2,2); o=torch.optim.SGD(m.parameters(),lr=1.); x=torch.optim.lr_scheduler.StepLR(o,1); o.step(); x.step()",
            "x.optimizer is o and x.get_last_lr()[0]<1 and (o.step() or x.step() or True)",
            "",
        ),
        (
            "scheduler with a lambda",
            "m=torch.nn.Linear(2,2); o=torch.optim.SGD(m.parameters(),lr=1.); x=torch.optim.lr_scheduler.LambdaLR(o,lambda e:.5**e)",
            "(o.step() or x.step() or True) and x.get_last_lr()[0]==.5",
            "",
        ),
        (
            "module with a hook",
            "seen=[]\nx=torch.nn.Linear(2,2); x.register_forward_hook(lambda m,i,o: seen.append(1))",
            "x(torch.ones(1,2)) is not None and seen==[1]",
            "",
        ),
        (
            "state_dict shares the module's parameters",
            "m=torch.nn.Linear(2,2); x=m.state_dict()",
            "x['weight'].data_ptr()==m.weight.data_ptr()",
            "",
        ),
        (
            "DataLoader",
            "x=torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(4)),batch_size=2)",
            "[b[0].tolist() for b in x]==[[0,1],[2,3]]",
            "",
        ),
        (
            "DataLoader on a data set of the notebook",
            "class D(torch.utils.data.Dataset):\n    def __len__(s): return 2\n    def __getitem__(s,i): return i\nx=torch.utils.data.DataLoader(D())",
            "[int(b) for b in x]==[0,1]",
            "",
        ),
        (
            "iterator of a DataLoader",
            "x=iter(torch.utils.data.DataLoader([1,2]))",
            None,
            "x: _SingleProcessDataLoaderIter cannot be saved",
        ),
        (
            "Generator",
            "x=torch.Generator().manual_seed(5); torch.rand(1,generator=x); y=torch.rand(1,generator=torch.Generator().manual_seed(5))",
            "isinstance(x,torch.Generator) and x.initial_seed()==5",
            "",
        ),
        (
            "Generator at its position",
            "g=torch.Generator().manual_seed(5); torch.rand(1,generator=g); s=g.get_state(); x=torch.Generator(); x.set_state(s); y=torch.rand(2,generator=g)",
            "torch.equal(torch.rand(2,generator=x),y)",
            "",
        ),
        (
            "traced module",
            "def f(a: torch.Tensor): return a+1\nimport warnings\nx=torch.jit.trace(torch.nn.Linear(2,2), torch.ones(1,2))",
            None,
            "x._actual_script_module._c: ScriptModule cannot be saved",
        ),
        ("compiled module", "m=torch.nn.Linear(2,2); x=torch.compile(m)", "x(torch.ones(1,2)).shape==(1,2)", ""),
        ("loss with weights", "x=torch.nn.CrossEntropyLoss(weight=torch.ones(3))", "x.weight.tolist()==[1,1,1]", ""),
        (
            "dtype, device, Size, layout",
            "x=[torch.float32,torch.device('cpu'),torch.Size([2]),torch.strided]",
            "x[0] is torch.float32 and x[2]==(2,)",
            "",
        ),
        ("gradient scaler", "x=torch.amp.GradScaler('cpu',enabled=True)", "x.get_scale()>0", ""),
        (
            "packed sequence",
            "x=torch.nn.utils.rnn.pack_sequence([torch.ones(3),torch.ones(2)])",
            "x.batch_sizes.tolist()==[2,2,1]",
            "",
        ),
        (
            "nested tensor",
            "x=torch.nested.nested_tensor([torch.ones(2),torch.ones(3)])",
            "[t.numel() for t in x.unbind()]==[2,3]",
            "",
        ),
        ("distribution", "x=torch.distributions.Normal(torch.zeros(2),torch.ones(2))", "x.scale.tolist()==[1,1]", ""),
        (
            "subclass of Tensor with attributes",
            "class S(torch.Tensor): pass\nx=torch.ones(2).as_subclass(S); x.tag=3",
            "type(x) is S and x.tag==3 and x.tolist()==[1,1]",
            "",
        ),
        ("tensor with attributes", "x=torch.ones(2); x.tag=3", "x.tag==3", ""),
        (
            "autograd Function of the notebook",
            "class F(torch.autograd.Function):\n    @staticmethod\n    def forward(c,a): return a*2\n    @staticmethod\n    def backward(c,g): return g*2\nx=F",
            "x.apply(torch.ones(1)).item()==2",
            "",
        ),
        (
            "conjugate view",
            "x=torch.ones(2,dtype=torch.complex64).conj()",
            "x.is_conj() and x.resolve_conj().tolist()==[1,1]",
            "",
        ),
        (
            "tensor on a part of an array inside a dict",
            "import numpy as np\na=np.zeros(10); b=torch.from_numpy(a[2:5]); x={'z':a}; del a",
            "x['z'].__setitem__(3,7) or float(b[1])==7",
            "",
        ),
        (
            "tensor on the bytes of a variable",
            "b=bytearray(12); x=torch.frombuffer(b,dtype=torch.uint8,offset=4)",
            "b.__setitem__(5,65) or int(x[1])==65",
            "",
        ),
        (
            "array on a part of a tensor",
            "t=torch.zeros(10); x=t[2:5].numpy()",
            "t.fill_(4) is t and x.tolist()==[4,4,4]",
            "",
        ),
        (
            "array whose tensor is gone",
            "x=torch.ones(10)[2:5].numpy()",
            "x.tolist()==[1,1,1] and x.flags.writeable",
            "",
        ),
        (
            "tensor on an array in Fortran order",
            "import numpy as np\na=np.zeros((3,4),order='F'); x=torch.from_numpy(a)",
            "a.__setitem__((1,2),5) or float(x[1,2])==5",
            "",
        ),
        (
            "tensor on the memory of a frame",
            "import pandas as pd, numpy as np\na=np.ones((400,300)); d=pd.DataFrame(a,copy=False); x=torch.from_numpy(a)",
            "a.__setitem__((1,2),5) or float(x[1,2])==5",
            "",
        ),
        (
            "tensor on a read-only array",
            "import numpy as np, warnings\nwarnings.simplefilter('ignore')\na=np.ones(4); a.flags.writeable=False; x=torch.from_numpy(a)",
            "x.fill_(3) is x and a.tolist()==[3]*4",
            "",
        ),
    ),
    *_rows(
        "JAX",
        "jax",
        _JAX,
        ("array", "x=jnp.arange(6.).reshape(2,3)", "isinstance(x,jax.Array) and x.tolist()[1][2]==5", ""),
        ("large array under two names", "x=jnp.ones(500_000); y=x", "x is y and float(x.sum())==500000", ""),
        ("bfloat16 array", "x=jnp.ones(3,dtype=jnp.bfloat16)", "x.dtype==jnp.bfloat16", ""),
        ("typed random key", "x=jax.random.key(3)", "jax.random.uniform(x).shape==()", ""),
        (
            "raw random key",
            "x=jax.random.PRNGKey(3)",
            "jax.random.uniform(x)==jax.random.uniform(jax.random.PRNGKey(3))",
            "",
        ),
        ("jit of a lambda that reads a global", "k=2\nx=jax.jit(lambda a:a*k)", "float(x(3.))==6", ""),
        ("grad of a notebook function", "def f(a): return a**2\nx=jax.grad(f)", "float(x(3.))==6", ""),
        ("tree Partial", "x=jax.tree_util.Partial(jnp.add, 1)", "int(x(2))==3", ""),
        ("dtypes", "x=[jnp.float32,jnp.dtype('float32')]", "x[0] is jnp.float32", ""),
        ("device", "x=jax.devices()[0]", None, "x: Device cannot be saved"),
        ("tree that shares an array", "x={'w':jnp.ones(2),'b':[jnp.zeros(1)]}; y=x['w']", "x['w'] is y", ""),
        (
            "tree structure",
            "x=jax.tree_util.tree_structure({'a':1})",
            "jax.tree_util.tree_unflatten(x,[5])=={'a':5}",
            "",
        ),
        (
            "sharding on a device",
            "x=jax.sharding.SingleDeviceSharding(jax.devices()[0])",
            None,
            "x (inside it, a Device): Device cannot be saved",
        ),
    ),
    *_rows(
        "Arrow",
        "pyarrow",
        _PYARROW,
        ("array", "x=pa.array([1,None,3]); y=x", "x is y and x.to_pylist()==[1,None,3]", ""),
        ("table", "x=pa.table({'a':[1,2],'s':['u','v']})", "x.to_pydict()=={'a':[1,2],'s':['u','v']}", ""),
        (
            "large table",
            "import numpy as np\nx=pa.table({'a':np.arange(400_000)})",
            "x.num_rows==400_000 and x['a'][399_999].as_py()==399_999",
            "",
        ),
        (
            "slice of a table",
            "t=pa.table({'a':list(range(300_000))}); x=t.slice(10,5)",
            "x['a'].to_pylist()==[10,11,12,13,14]",
            "",
        ),
        ("schema with metadata", "x=pa.schema([('a',pa.int8())],metadata={'k':'v'})", "x.metadata=={b'k':b'v'}", ""),
        ("scalar", "x=pa.scalar(3)", "x.as_py()==3", ""),
        ("dictionary array", "x=pa.array(['a','b','a']).dictionary_encode()", "x.indices.to_pylist()==[0,1,0]", ""),
        ("buffer", "x=pa.py_buffer(b'abc')", "x.to_pybytes()==b'abc'", ""),
        (
            "buffer on the bytes of a variable",
            "b=bytearray(12); x=pa.py_buffer(b).slice(4)",
            "b.__setitem__(5,65) or x.to_pybytes()[1]==65",
            "",
        ),
        ("reader", "x=pa.BufferReader(b'abc')", None, "x: an open file: open it again after the restore"),
        (
            "pandas text on Arrow",
            "x=pd.Series(['a',None,'c'],dtype='string[pyarrow]')",
            "x.dtype=='string[pyarrow]' and x.isna().tolist()==[False,True,False]",
            "",
        ),
        (
            "pandas str dtype",
            "x=pd.DataFrame({'s':['a','b']*3})",
            "x['s'].tolist()==['a','b']*3 and str(x.dtypes.iloc[0])=='str'",
            "",
        ),
        (
            "pandas ArrowDtype of lists",
            "x=pd.Series([[1],[2,3]],dtype=pd.ArrowDtype(pa.list_(pa.int64())))",
            "x.list.len().tolist()==[1,2]",
            "",
        ),
        (
            "pandas categorical of Arrow text",
            "x=pd.Series(['a','b','a'],dtype='string[pyarrow]').astype('category')",
            "x.cat.codes.tolist()==[0,1,0]",
            "",
        ),
        (
            "pandas Arrow column and its frame copy on write",
            "x=pd.DataFrame({'s':['a','b']}); y=x['s']",
            "x.__setitem__('s',['p','q']) or y.tolist()==['a','b']",
            "",
        ),
    ),
    *_rows(
        "pint",
        "pint",
        "import pint\n",
        (
            "quantity and its registry of units",
            "u=pint.UnitRegistry(); u.define('foo = 3 m'); x=u.Quantity(2,'kfoo'); y=u.km",
            "(x+u.Quantity(1,'m')).to('m').magnitude==6001 and y==u.km and type(x) is type(u.Quantity(1,'m'))",
            "",
        ),
        ("quantity of a registry that is no variable", "x=pint.UnitRegistry().Quantity(2,'km'); y=2*x", "x+x==y", ""),
        (
            "quantity of every process",
            "x=pint.Quantity(2,'km')",
            "(x+pint.Quantity(1,'m')).to('m').magnitude==2001",
            "",
        ),
        (
            "application registry",
            "x=pint.get_application_registry()",
            None,
            "x: pint's application registry: pint.get_application_registry() gives that of the process again",
        ),
    ),
    *_rows(
        "plotly",
        "plotly",
        "import plotly.graph_objects as go\n",
        (
            "trace of a figure",
            "f=go.Figure(go.Scatter(y=[1,2])); x=f.data[0]; y=x.marker",
            "x is f.data[0] and y is x.marker and (setattr(x,'name','q') or f.data[0].name=='q')",
            "",
        ),
        (
            "layout of a figure and what is in it",
            "f=go.Figure(go.Scatter(y=[1,2])); f.add_annotation(text='a'); x=f.layout; y=x.annotations[0]; z=x.xaxis",
            "x is f.layout and y is x.annotations[0] and z is x.xaxis",
            "",
        ),
        ("trace of no figure", "x=go.Scatter(y=[1,2]); y=[x]", "y[0] is x and x.y==(1,2)", ""),
    ),
]
