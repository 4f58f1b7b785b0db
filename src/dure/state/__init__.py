"""Snapshots of a Python namespace: what it holds is saved, or named with the reason; nothing is silently
altered.

A library of its own, shared by the notebook kernel and the worker; it imports nothing else of Dure. Names are
loaded when first used, because the server side imports `dure.state.manifest` and must not pull in pickling
with it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dure.state.blobs import BlobError, BlobMissing, Blobs, FolderBlobs, S3Blobs, open_blobs
    from dure.state.capturing import capture
    from dure.state.changes import Changes, changed
    from dure.state.identity import fingerprint, fingerprint_problems
    from dure.state.inspection import Diff, describe, diff, verify
    from dure.state.manifest import ManifestError, Snapshot, Variable
    from dure.state.restoring import Report, restore

__all__ = [
    "BlobError",
    "BlobMissing",
    "Blobs",
    "Changes",
    "Diff",
    "FolderBlobs",
    "ManifestError",
    "Report",
    "S3Blobs",
    "Snapshot",
    "Variable",
    "capture",
    "changed",
    "describe",
    "diff",
    "fingerprint",
    "fingerprint_problems",
    "open_blobs",
    "restore",
    "verify",
]

_HOME = {
    "BlobError": "blobs",
    "BlobMissing": "blobs",
    "Blobs": "blobs",
    "FolderBlobs": "blobs",
    "S3Blobs": "blobs",
    "open_blobs": "blobs",
    "capture": "capturing",
    "Changes": "changes",
    "changed": "changes",
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
