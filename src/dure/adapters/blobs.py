"""The administrator's side of the blob store: who may reach what, and what may go.

Every team has a prefix of its own, `<root>/<team>/blobs/<first two characters>/<digest>`, and reaches nothing else. The
trap: people write blobs themselves, so nothing that a blob says of itself may be believed before it is looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dure.adapters.blob_collection import collected, key_changed
from dure.adapters.blob_key import BlobKey
from dure.adapters.persons_files import open_regular
from dure.adapters.s3keys import Keys, TeamKeys, opened
from dure.adapters.system import SystemClock
from dure.ports import BlobStoreError
from dure.state.manifest import MANIFEST_BYTES
from dure.state.store.blobs import BlobError, unseal_file, unsealed
from dure.state.store.sealing import CHUNK_BYTES, HEADER_BYTES, MARK, Seal, SealError, may_be_manifest, sealed_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dure.ports import Clock
    from dure.settings import S3Settings

_TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CLOCK = SystemClock()  # only for when temporary keys end
_ASIDE = ".collected"
_ABANDONED_S = 24 * 3600.0
_SEALED_MORE_BYTES = 4096  # header and marks of a sealed blob, beside a thousandth of its plain bytes


class FolderBlobStores:
    """ports.BlobStores in a folder.

    With `group_of` (team to group id), people of a team share its blobs by that group, and others cannot list them.
    Only the folders of two characters are the group's to write: nobody can put a link where a folder should be.
    """

    def __init__(self, root: Path, group_of: Callable[[str], int] | None = None, key: BlobKey | None = None) -> None:
        self._root = Path(root)
        self._key = key or BlobKey()
        self._group_of = group_of
        self._shared: dict[str, int] = {}
        self._references: dict[str, dict[str, frozenset[str]]] = {}

    def access(self, team: str) -> Mapping[str, Any]:
        """Return access to the team's folder, which is made when it is not there."""
        folder = self._root / _checked_team(team)
        with _told(folder):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            if self._group_of is not None:
                self._share(team, folder, self._group_of(team))
            changed = key_changed(_FolderTeam(folder, self._key.seal(team)))
        access = {"kind": "folder", "root": str(folder.absolute()), **self._key.access(team)}
        return {**access, "key_changed": True} if changed else access

    def _share(self, team: str, folder: Path, group: int) -> None:
        """Open the team's folders to its group; done once in a process and group, and cheap to repeat."""
        if self._shared.get(team) == group:
            return
        blobs = folder / "blobs"
        self._root.chmod(0o711)
        for path, mode in ((folder, 0o2750), (blobs, 0o2750), *((blobs / f"{n:02x}", 0o2770) for n in range(256))):
            path.mkdir(mode=0o700, exist_ok=True)
            os.chown(path, -1, group)
            path.chmod(mode)  # after chown, which clears the bit
        # A copy under way lies beside them (`put_file`), so that folder, too, takes entries, but only each owner's own.
        blobs.chmod(0o3770)
        self._shared[team] = group

    def read(self, team: str, digest: str, most_bytes: int | None = None) -> bytes | None:
        """Return a blob's verified bytes, None when absent; BlobStoreError for more than `most_bytes`."""
        found = _FolderTeam(self._root / _checked_team(team), self._key.seal(team))
        path = found.file(_checked_digest(digest))
        try:
            with _told(path), open_regular(path) as file:
                begin = file.read(HEADER_BYTES)
                _check_size(begin, os.fstat(file.fileno()).st_size, most_bytes, digest)
                data = begin + file.read()
        except FileNotFoundError:
            return None
        return _opened(found.seal, data, digest, str(path))

    def open(self, team: str, digest: str) -> IO[bytes] | None:
        """Return a file of the blob's verified bytes, None when absent."""
        found = _FolderTeam(self._root / _checked_team(team), self._key.seal(team))
        path = found.file(_checked_digest(digest))
        try:
            with _told(path):
                return _plain_file(found.seal, open_regular(path), digest, str(path))
        except FileNotFoundError:
            return None

    def collect(self, keep: Mapping[str, frozenset[str]], older_than_s: float) -> int:
        """Delete old blobs that nothing in `keep[team]` reaches; teams that `keep` does not name are left alone."""
        gone = 0
        for team, needed in keep.items():
            folder = self._root / _checked_team(team)
            if folder.is_dir():
                with _told(folder):
                    known = self._references.setdefault(team, {})
                    gone += collected(_FolderTeam(folder, self._key.seal(team)), needed, older_than_s, known)
        return gone


class S3BlobStores:
    """ports.BlobStores in a bucket, with keys for each team, which `state_dir` keeps, readable by its owner only."""

    def __init__(
        self, settings: S3Settings, state_dir: Path, clock: Clock = _CLOCK, key: BlobKey | None = None
    ) -> None:
        self._settings = settings
        self._key = key or BlobKey()
        self._keys = TeamKeys(settings, state_dir / "s3-keys.json", clock)
        self._references: dict[str, dict[str, frozenset[str]]] = {}
        self._marked: set[str] = set()
        self._store = opened(settings, Keys(settings.access_key_id, settings.secret_access_key))

    def access(self, team: str) -> Mapping[str, Any]:
        """Return access to the team's prefix with keys that reach nothing else (or all, with `static_keys`)."""
        prefix = self._prefix(team)
        with self._told():
            keys = self._keys.of(team, prefix)
        return {
            "kind": "s3",
            "bucket": self._settings.bucket,
            "prefix": prefix,
            "endpoint": self._settings.endpoint,
            "region": self._settings.region,
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "session_token": keys.session_token,
            **self._key.access(team),
            **({"key_changed": True} if self._key_changed(team) else {}),
        }

    def read(self, team: str, digest: str, most_bytes: int | None = None) -> bytes | None:
        """Return a blob's verified bytes, None when absent; BlobStoreError for more than `most_bytes`."""
        found = self._team(team)
        for key in found.keys(_checked_digest(digest)):
            with contextlib.suppress(FileNotFoundError):
                with self._told():
                    if most_bytes is not None and (size := self._store.head(key)["size"]):
                        begin = bytes(self._store.get_range(key, start=0, end=HEADER_BYTES))
                        _check_size(begin, size, most_bytes, digest)
                    data = bytes(self._store.get(key).bytes())
                return _opened(found.seal, data, digest, f"s3://{self._settings.bucket}/{key}")
        return None

    def open(self, team: str, digest: str) -> IO[bytes] | None:
        """Return a file of the blob's verified bytes, None when absent; it is a copy, which goes when it is closed."""
        found = self._team(team)
        for key in found.keys(_checked_digest(digest)):
            stored: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 -- closed below, or by the caller
            try:
                with self._told():
                    stored.writelines(self._store.get(key).stream(min_chunk_size=CHUNK_BYTES))
            except FileNotFoundError:
                stored.close()
            except BaseException:
                stored.close()
                raise
            else:
                stored.seek(0)
                return _plain_file(found.seal, stored, digest, f"s3://{self._settings.bucket}/{key}")
        return None

    def collect(self, keep: Mapping[str, frozenset[str]], older_than_s: float) -> int:
        """Delete old blobs that nothing in `keep[team]` reaches; teams that `keep` does not name are left alone.

        S3 cannot delete on a condition of age, so each object is looked at again right before it goes: one that is put
        anew within those milliseconds, unneeded and unused for `older_than_s`, would still go.
        """
        gone = 0
        for team, needed in keep.items():
            with self._told():
                gone += collected(self._team(team), needed, older_than_s, self._references.setdefault(team, {}))
        return gone

    def _team(self, team: str) -> _S3Team:
        return _S3Team(self._store, self._prefix(team), self._key.seal(team))

    def _key_changed(self, team: str) -> bool:
        """Tell whether the team's blobs were written with another key; a store that is away tells it the next time."""
        if team in self._marked:
            return False
        try:
            with self._told():
                changed = key_changed(self._team(team))
        except BlobStoreError:
            return False
        if not changed:
            self._marked.add(team)
        return changed

    def _prefix(self, team: str) -> str:
        root = self._settings.prefix.strip("/")
        return f"{root}/{_checked_team(team)}" if root else _checked_team(team)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError
        from obstore.exceptions import BaseError, NotFoundError

        try:
            yield
        except (FileNotFoundError, NotFoundError):
            raise
        except (BaseError, BotoCoreError, ClientError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise BlobStoreError(
                f"The object store {self._settings.endpoint} (bucket {self._settings.bucket}) refused: {first}. Check "
                "that it runs and that its keys are right with `dure doctor`."
            ) from error


class _FolderTeam:
    def __init__(self, folder: Path, seal: Seal) -> None:
        self._folder = folder
        self._blobs = folder / "blobs"
        self.seal = seal

    def file(self, digest: str) -> Path:
        """Return the blob's file; where the team had no key yet when it was written, the plain one."""
        name = self.seal.name(digest)
        path = self._blobs / name[:2] / name
        return self._blobs / digest[:2] / digest if name != digest and not path.exists() else path

    def ages(self) -> Iterator[tuple[str, float]]:
        now = self._now()
        for path in self._blobs.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(FileNotFoundError):
                age_s = now - path.lstat().st_mtime
                name = path.name
                if name.endswith(_ASIDE):  # a collection was killed in the middle; this one judges again
                    name = name.removesuffix(_ASIDE)[1:]
                    path.rename(path.with_name(name))
                if _DIGEST.fullmatch(name):
                    yield name, age_s
                elif age_s > _ABANDONED_S:  # what a killed writer left
                    path.unlink()

    def mark(self) -> str | None:
        try:
            return (self._folder / ".key").read_text("ascii")
        except FileNotFoundError:
            return None

    def set_mark(self, text: str) -> None:
        marker = self._folder / ".key"
        marker.touch(mode=0o600)
        marker.write_text(text, "ascii")

    @property
    def where(self) -> str:
        return str(self._folder / ".key")

    def head(self, digest: str) -> bytes | None:
        path = self.file(digest)
        try:
            with open_regular(path) as handle:
                begin = handle.read(HEADER_BYTES)
                if not _may_be_manifest(begin, os.fstat(handle.fileno()).st_size):
                    return b""
                return _opened(self.seal, begin + handle.read(), digest, str(path))
        except FileNotFoundError:
            return None

    def remove(self, name: str, older_than_s: float) -> bool:
        # Taken aside first: from then on whoever wants to make it young finds it absent and puts it anew, and whoever
        # was faster has left a new date on the very file that is looked at here.
        path = self._blobs / name[:2] / name
        aside = path.with_name(f".{name}{_ASIDE}")
        try:
            path.rename(aside)
            if self._now() - aside.lstat().st_mtime < older_than_s:
                aside.rename(path)
                return False
            aside.unlink()
        except FileNotFoundError:
            return False
        return True

    def _now(self) -> float:
        # The file system dates the blobs, and its clock may be another machine's.
        marker = self._folder / ".collected"
        marker.touch(mode=0o600)
        return marker.stat().st_mtime


class _S3Team:
    def __init__(self, store: Any, prefix: str, seal: Seal) -> None:
        self._store = store
        self._prefix = prefix
        self._now_at = 0.0
        self.seal = seal

    def keys(self, digest: str) -> list[str]:
        """Return where the blob may be; last, if the team has a key, where it was written before."""
        return [self._key(name) for name in dict.fromkeys((self.seal.name(digest), digest))]

    def _key(self, name: str) -> str:
        return f"{self._prefix}/blobs/{name[:2]}/{name}"

    def ages(self) -> Iterator[tuple[str, float]]:
        # The object store dates the blobs, so its clock is asked, by an object of no other meaning.
        marker = f"{self._prefix}/collected"
        self._store.put(marker, b"")
        self._now_at = self._store.head(marker)["last_modified"].timestamp()
        for page in self._store.list(f"{self._prefix}/blobs/"):
            for entry in page:
                yield entry["path"].rsplit("/", 1)[-1], self._now_at - entry["last_modified"].timestamp()

    def mark(self) -> str | None:
        try:
            return bytes(self._store.get(self.where).bytes()).decode("ascii")
        except FileNotFoundError:
            return None

    def set_mark(self, text: str) -> None:
        self._store.put(self.where, text.encode("ascii"))

    @property
    def where(self) -> str:
        return f"{self._prefix}/key"

    def head(self, digest: str) -> bytes | None:
        for key in self.keys(digest):
            with contextlib.suppress(FileNotFoundError):
                size = self._store.head(key)["size"]
                if not size or not _may_be_manifest(bytes(self._store.get_range(key, start=0, end=HEADER_BYTES)), size):
                    return b""
                return _opened(self.seal, bytes(self._store.get(key).bytes()), digest, key)
        return None

    def remove(self, name: str, older_than_s: float) -> bool:
        key = self._key(name)
        try:
            age_s = self._now_at - self._store.head(key)["last_modified"].timestamp()
        except FileNotFoundError:
            return False
        if age_s < older_than_s:
            return False
        self._store.delete(key)
        return True


def _may_be_manifest(begin: bytes, stored_bytes: int) -> bool:
    # What is longer than it may be opens neither sealed nor, as it does not begin with a brace, as a plain manifest.
    return not _beyond(begin, stored_bytes, MANIFEST_BYTES) and may_be_manifest(begin)


def _check_size(begin: bytes, stored_bytes: int, most_bytes: int | None, digest: str) -> None:
    if most_bytes is not None and _beyond(begin, stored_bytes, most_bytes):
        raise BlobStoreError(f"Blob {digest[:12]}… has more than the {most_bytes} bytes that are read here.")


def _beyond(begin: bytes, stored_bytes: int, most_bytes: int) -> bool:
    """Tell from a blob's first bytes and its length whether reading it could take more memory than `most_bytes`.

    People write blobs themselves: a sealed one may claim to be small and lie there as a huge file, or the reverse.
    """
    plain = _plain_bytes(begin)
    if plain is None:
        return stored_bytes > most_bytes
    return plain > most_bytes or stored_bytes > plain + plain // 1024 + _SEALED_MORE_BYTES


def _plain_bytes(begin: bytes) -> int | None:
    try:
        return sealed_size(begin)
    except SealError as error:
        raise BlobStoreError(f"A blob cannot be read by this dure: {error}.") from None


def _checked_team(team: str) -> str:
    # The name becomes part of a path and of a policy: no separator, no "..", no wildcard.
    if not _TEAM.fullmatch(team):
        raise BlobStoreError(
            f"{team[:80]!r} cannot be a team's name: use up to 63 letters, digits and . _ @ -, beginning with a letter "
            "or digit."
        )
    return team


def _checked_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise BlobStoreError(f"{digest[:80]!r} is not a blob's digest: it must be 64 characters of 0-9 and a-f.")
    return digest


def _plain_file(seal: Seal, stored: IO[bytes], digest: str, where: str) -> IO[bytes]:
    """Return `stored` itself where it is the plain bytes, else another file that is; the one not returned is closed."""
    plain: IO[bytes] | None = None
    try:
        if stored.read(len(MARK)) == MARK:
            plain = tempfile.TemporaryFile()  # noqa: SIM115 -- closed below, or by the caller
        stored.seek(0)
        with Path(os.devnull).open("wb") as nowhere:
            unseal_file(seal, stored, plain or nowhere, digest, where)
    except BaseException as error:
        for file in (stored, plain):
            if file is not None:
                file.close()
        if isinstance(error, BlobError):
            raise BlobStoreError(str(error)) from None
        raise
    if plain is not None:
        stored.close()
    found = plain or stored
    found.seek(0)
    return found


def _opened(seal: Seal, data: bytes, digest: str, where: str) -> bytes:
    try:
        return unsealed(seal, data, digest, where)
    except BlobError as error:
        raise BlobStoreError(str(error)) from None


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BlobStoreError(
            f"The blob store at {path} cannot be used: {error.strerror}. Check the disk, the folder and its owner."
        ) from error
