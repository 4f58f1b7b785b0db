"""Snapshots of a Python namespace: what it holds is saved, or named with the reason; nothing is silently altered.

Saving while cells run, from any thread, without stopping the person:

    frozen = freeze(namespace, base=last, blobs=blobs, extras=process_extras())
    …the next cell may begin…
    last = frozen.save()        # on a background thread; exactly the state at `freeze`, whatever runs meanwhile
    digest = last.store(blobs)  # the manifest, after all that it names

`freeze` runs on the thread that runs cells, between two of them (IPython's `post_run_cell`, or idle): it pickles
objects, about 0.1 s for 100,000 of them and less than 10 ms for few, and keeps large memory as it is then: up to 32 MiB
of changed bytes are copied, more is kept by a forked process that holds the pages until `save` or `close` ends (some 10
ms per GB). Where a fork is not possible it saves at once and `save` only returns what is done. One `Frozen` after the
other: save or close before the next `freeze`, and give the last snapshot as `base`, or all is read again.

After a restore `apply_extras(report.extras)` puts random states and the folder in force. With
`result_extras(namespace)` among the extras IPython's `Out` and `_` are saved, too, for
`results_in(report.extras)`.

A library of its own, shared by the notebook kernel and the worker; it imports nothing else of Dure. Names are loaded
when first used, because the server side imports `dure.state.manifest` and must not pull in pickling with it.

Where things are, in the order in which a save and then a restore comes by them; each package lists its own modules:

    capturing   saves a namespace or some names of it: `capture`, `freeze`
    runs        the runs of bytes that groups are made of: which of them the store lacks, and their manifest
    secrecy     which names are IPython's own, and which values hold secrets
    grouping    which variables share objects, and so are pickled together as one group
    unions      finds those whose pickles reached the same object
    objects     how an object becomes a pickle, and the same object again
    libraries   what objects of pandas, torch, matplotlib and others need for that, and their settings
    cut         large plain values in parts, so that only what changed is pickled again
    memory      which memory was written, how it is kept as it was, and what restored bytes live in
    store       where blobs lie
    manifest    what a snapshot says about itself: variables, groups and the blobs that they need
    extras      what is saved beside the variables: random states, the folder, settings, IPython's results
    identity    the Python and the packages that wrote a snapshot, and whether another one can read it
    restoring   brings a snapshot back: `restore`
    later       what a restore leaves to be loaded while cells run already
    changes     what a cell changed since a snapshot: `changed`
    inspection  looks at snapshots without loading them: `describe`, `diff`, `verify`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.state.capturing import Frozen as Frozen
    from dure.state.capturing import capture as capture
    from dure.state.capturing import freeze as freeze
    from dure.state.changes import Changes as Changes
    from dure.state.changes import changed as changed
    from dure.state.extras import apply_extras as apply_extras
    from dure.state.extras import process_extras as process_extras
    from dure.state.extras import result_extras as result_extras
    from dure.state.extras import results_in as results_in
    from dure.state.identity import fingerprint as fingerprint
    from dure.state.inspection import describe as describe
    from dure.state.inspection import diff as diff
    from dure.state.inspection import verify as verify
    from dure.state.manifest import ManifestError as ManifestError
    from dure.state.manifest import Snapshot as Snapshot
    from dure.state.restoring import Report as Report
    from dure.state.restoring import restore as restore
    from dure.state.store.blobs import BlobError as BlobError
    from dure.state.store.blobs import BlobMissing as BlobMissing
    from dure.state.store.blobs import Blobs as Blobs
    from dure.state.store.blobs import FolderBlobs as FolderBlobs
    from dure.state.store.blobs import open_blobs as open_blobs

_NAMES = {
    "capturing": ("Frozen", "capture", "freeze"),
    "changes": ("Changes", "changed"),
    "extras": ("apply_extras", "process_extras", "result_extras", "results_in"),
    "identity": ("fingerprint",),
    "inspection": ("describe", "diff", "verify"),
    "manifest": ("ManifestError", "Snapshot"),
    "restoring": ("Report", "restore"),
    "store.blobs": ("BlobError", "BlobMissing", "Blobs", "FolderBlobs", "open_blobs"),
}

__all__ = [name for names in _NAMES.values() for name in names]


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _NAMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
