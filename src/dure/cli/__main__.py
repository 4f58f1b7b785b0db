"""`python -m dure.cli`: the same as `dure`, for a Python whose scripts are not on the PATH."""

from dure.cli.app import main

if __name__ == "__main__":
    main()
