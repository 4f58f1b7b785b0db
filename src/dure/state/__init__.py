"""Snapshots of a Python namespace: what it holds is saved, or named with the reason; nothing is silently
altered.

Saving while cells run, from any thread, without stopping the person:

    frozen = freeze(namespace, base=last, blobs=blobs, extras={**process_extras(), **history_extras(namespace)})
    …the next cell may begin…
    last = frozen.save()        # on a background thread; exactly the state at `freeze`, whatever runs meanwhile
    digest = last.store(blobs)  # the manifest, after all that it names

`freeze` runs on the thread that runs cells, between two of them (IPython's `post_run_cell`, or idle): it pickles
objects, about 0.1 s for 100,000 of them and less than 10 ms for few, and keeps large memory as it is then: up to 32 MiB
of changed bytes are copied, more is kept by a forked process that holds the pages until `save` or `close` ends (some
10 ms per GB). Where a fork is not possible it saves at once and `save` only returns what is done. One `Frozen` after
the other: save or close before the next `freeze`, and give the last snapshot as `base`, or all is read again.
After a restore: `report.extras`, `apply_extras(report.extras)` for random states and the folder, `out_of(...)` for Out.

A library of its own, shared by the notebook kernel and the worker; it imports nothing else of Dure. Names are
loaded when first used, because the server side imports `dure.state.manifest` and must not pull in pickling
with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.state.capturing import Frozen, capture, freeze
    from dure.state.changes import Changes, changed
    from dure.state.extras import apply_extras, history_extras, out_of, process_extras
    from dure.state.identity import fingerprint, fingerprint_problems
    from dure.state.inspection import Diff, describe, diff, verify
    from dure.state.manifest import ManifestError, Snapshot, Variable
    from dure.state.restoring import Report, restore
    from dure.state.store.blobs import BlobError, BlobMissing, Blobs, FolderBlobs, open_blobs
    from dure.state.store.s3blobs import S3Blobs

__all__ = [
    "BlobError",
    "BlobMissing",
    "Blobs",
    "Changes",
    "Diff",
    "FolderBlobs",
    "Frozen",
    "ManifestError",
    "Report",
    "S3Blobs",
    "Snapshot",
    "Variable",
    "apply_extras",
    "capture",
    "changed",
    "describe",
    "diff",
    "fingerprint",
    "fingerprint_problems",
    "freeze",
    "history_extras",
    "open_blobs",
    "out_of",
    "process_extras",
    "restore",
    "verify",
]

_HOME = {
    "BlobError": "store.blobs",
    "BlobMissing": "store.blobs",
    "Blobs": "store.blobs",
    "FolderBlobs": "store.blobs",
    "S3Blobs": "store.s3blobs",
    "open_blobs": "store.blobs",
    "Frozen": "capturing",
    "capture": "capturing",
    "freeze": "capturing",
    "Changes": "changes",
    "changed": "changes",
    "apply_extras": "extras",
    "history_extras": "extras",
    "out_of": "extras",
    "process_extras": "extras",
    "fingerprint": "identity",
    "fingerprint_problems": "identity",
    "Diff": "inspection",
    "describe": "inspection",
    "diff": "inspection",
    "verify": "inspection",
    "ManifestError": "manifest",
    "Snapshot": "manifest",
    "Variable": "manifest",
    "Report": "restoring",
    "restore": "restoring",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
