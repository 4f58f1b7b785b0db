"""What a notebook and the process that runs its cells have to call the same: names under which things travel, limits.

Both load it before anything else, so it imports nothing. The trap: one of them may be older, so no value here changes.
"""

from __future__ import annotations

# Beside a cell's variables, in the snapshot that goes back.
LAST_VALUE = "last_value_of_cell__"  # a copy of the last expression's value, where it is no number
SETTINGS_MADE = "settings_of_cell__"  # settings that the cell made and only a snapshot can hold
LABELS_MADE = "labels_of_cell__"  # labels of pandas that the cell renamed, each with the variables that had it

# In the snapshots of a call: a function with its arguments, what it returned, what it raised.
CALL, RESULT, EXCEPTION = "__call__", "__result__", "__exception__"

EVERYTHING = "*"  # in a question for names: all that the notebook has
PROVIDE_TIMEOUT_S = 30.0  # how long a cell waits for the answer
THE_CELL = "the-cell"  # in a widget's state: the request that the notebook is at, whose id the worker does not know
MAX_KEEP_S = 3600.0  # a kept GPU waits at most this long for a next cell
