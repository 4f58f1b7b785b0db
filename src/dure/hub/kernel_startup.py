"""Run by every IPython kernel and terminal of a workspace at its start ($PYTHONSTARTUP): loads `%%gpu` by itself.

Runs in the user's namespace of any Python, with or without Dure in it. Trap: it must leave no name behind, and
nothing that goes wrong in here may keep a kernel from starting; what failed is said in one line under the first cell.
"""


def _dure_load() -> None:
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:  # a plain `python` in a terminal reads $PYTHONSTARTUP, too
        return
    try:
        shell.extension_manager.load_extension("dure")
    except BaseException as error:  # noqa: BLE001 - whatever an extension raises, the kernel starts
        import sys

        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        fix = (
            "%pip install dure" if isinstance(error, ModuleNotFoundError) and error.name == "dure" else "%load_ext dure"
        )

        def warn_once(*_about: object) -> None:
            print(f"%%gpu is not available in this kernel ({reason}). To try again: {fix}", file=sys.stderr)  # noqa: T201
            shell.events.unregister("pre_run_cell", warn_once)

        shell.events.register("pre_run_cell", warn_once)


try:
    _dure_load()
finally:
    del _dure_load
