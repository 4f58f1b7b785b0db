"""The part of the fidelity matrix that newer Pythons than 3.11 brought.

The page tells of it from what is declared here; where the Python knows them, the test holds it against what is so.
"""

from tests.state.rows import Row

_SECTION = "From Python 3.12 on"


def _rows(needs: str, *kinds: tuple[str, str, str | None, str]) -> list[Row]:
    return [Row(_SECTION, kind, source, check, needs, reason) for kind, source, check, reason in kinds]


PYTHONS_ROWS = [
    *_rows(
        "Python 3.12",
        ("type alias", "type A=list[int]\nx=[A]", "x[0] is A and A.__value__==list[int] and A.__name__=='A'", ""),
        (
            "type alias with parameters",
            "type A[T]=list[T]|None\nx=A[int]",
            "x.__origin__ is A and A.__value__.__args__[0].__args__[0] is A.__type_params__[0]",
            "",
        ),
        ("type alias that names itself", "type x=dict[str,x]|None", "x.__value__.__args__[0].__args__[1] is x", ""),
        (
            "type aliases that name each other",
            "type x=list[y]\ntype y=dict[str,x]|None",
            "x.__value__.__args__[0] is y and y.__value__.__args__[0].__args__[1] is x",
            "",
        ),
        (
            "type alias of a class that names it",
            "class C:\n    a: 'A'\ntype A=C|None\nx=C()",
            "A.__value__==C|None",
            "",
        ),
        (
            "type alias with parameters that names itself",
            "type x[T]=list[x[T]]|T",
            None,
            "x: a type alias with parameters that names itself: run its cell again",
        ),
        (
            "function that a type alias annotates",
            "type A=list[int]\ndef x(a:A)->A: return a",
            "x.__annotations__['a'] is A and x([1])==[1]",
            "",
        ),
        (
            "class with a type alias",
            "class C:\n    type A=list[int]\n    a:A=[]\nx=C()",
            "C.A is C.__annotations__['a']",
            "",
        ),
        (
            "function with type parameters",
            "def x[T:(int,str)](a:T)->T: return a",
            "x.__type_params__[0] is x.__annotations__['a'] and x.__type_params__[0].__constraints__==(int,str)",
            "",
        ),
        (
            "class with type parameters",
            "class C[T:int,*Ts,**P]:\n    def get(self)->T: return 3\nx=C[int,str,[int]]()",
            "x.get()==3 and C.__type_params__[0].__bound__ is int and C.__type_params__[0].__infer_variance__",
            "",
        ),
    ),
    *_rows(
        "Python 3.13",
        (
            "type parameters with a default",
            "from typing import *\nx=[TypeVar('T',default=int),TypeVar('U',default=None),ParamSpec('P',default=[int])]",
            "[t.has_default() for t in x]==[True]*3 and x[0].__default__ is int and x[1].__default__ is None",
            "",
        ),
        (
            "deprecated function and class",
            "from warnings import deprecated\n@deprecated('no')\ndef x(): pass\n@deprecated('no')\nclass C: pass",
            "x.__deprecated__==C.__deprecated__=='no'",
            "",
        ),
    ),
]
