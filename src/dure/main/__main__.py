"""`python -m dure.main …`: one control plane in this process. Started by `dure up` or by the Hub."""

from dure.main.cli import control

if __name__ == "__main__":
    control.main(prog_name="python -m dure.main")
