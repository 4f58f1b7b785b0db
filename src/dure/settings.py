"""The one settings object of a control plane, read once at its start and passed down.

What people decide about the platform is in platform.yaml; here is only where this process finds things. Secrets come
from the environment or from files of mode 0600, never from arguments that other users could list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

IdentityKind = Literal["token", "hub", "header"]


class SettingsError(Exception):
    """A control plane cannot be started as it was asked to; the text says what is missing and what to type."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """Where blobs lie when not in a folder. The keys need the right to make users, or `role_arn` to assume a role."""

    endpoint: str
    bucket: str
    region: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    prefix: str = ""
    role_arn: str | None = None
    static_keys: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where one control plane finds its state, its database, its blobs and its people."""

    state_dir: Path
    platform_file: Path
    database_url: str
    port: int
    address: str = "127.0.0.1"
    base_path: str = ""
    identity: IdentityKind = "token"
    trusted_proxies: tuple[str, ...] = ()
    proxy_secret: str = field(default="", repr=False)
    system_users: bool = False
    s3: S3Settings | None = None
    blob_key_file: Path | None = None  # blobs are encrypted with a key for each team that is derived from it
    retention_days: float = 30.0
    log_level: str = "INFO"

    @property
    def token_file(self) -> Path:
        """Where the token of `dure up --no-hub` is kept, readable by its owner alone."""
        return self.state_dir / "token"

    @property
    def clusters_folder(self) -> Path:
        """Where executors keep their attempts: `<cluster>/attempts/<job>.<attempt>`."""
        return self.state_dir / "clusters"


def read_settings(
    state_dir: Path,
    environ: Mapping[str, str],
    *,
    port: int,
    address: str = "127.0.0.1",
    identity: IdentityKind = "token",
    base_path: str = "",
    system_users: bool = False,
) -> Settings:
    """Return the settings for a state folder. Raises SettingsError for variables that are missing or wrong.

    Variables: DURE_DATABASE_URL, DURE_S3_ENDPOINT, DURE_S3_BUCKET, DURE_S3_REGION, DURE_S3_PREFIX, DURE_S3_ROLE_ARN,
    DURE_S3_STATIC_KEYS, DURE_S3_ACCESS_KEY_ID, DURE_S3_SECRET_ACCESS_KEY, DURE_BLOB_KEY_FILE,
    DURE_TRUSTED_PROXIES (comma-separated), DURE_PROXY_SECRET, DURE_RETENTION_DAYS, DURE_LOG_LEVEL.
    """
    state_dir = state_dir.resolve()
    try:
        retention_days = float(environ.get("DURE_RETENTION_DAYS", "30"))
    except ValueError:
        raise SettingsError(
            "DURE_RETENTION_DAYS is not a number of days. Type: export DURE_RETENTION_DAYS=30"
        ) from None
    return Settings(
        state_dir=state_dir,
        platform_file=state_dir / "platform.yaml",
        database_url=environ.get("DURE_DATABASE_URL", f"sqlite:///{state_dir / 'dure.sqlite'}"),
        port=port,
        address=address,
        base_path=base_path.rstrip("/"),
        identity=identity,
        trusted_proxies=tuple(p.strip() for p in environ.get("DURE_TRUSTED_PROXIES", "").split(",") if p.strip()),
        proxy_secret=environ.get("DURE_PROXY_SECRET", ""),
        system_users=system_users,
        s3=_s3(environ),
        blob_key_file=Path(environ["DURE_BLOB_KEY_FILE"]).resolve() if environ.get("DURE_BLOB_KEY_FILE") else None,
        retention_days=retention_days,
        log_level=environ.get("DURE_LOG_LEVEL", "INFO"),
    )


def _s3(environ: Mapping[str, str]) -> S3Settings | None:
    if not environ.get("DURE_S3_BUCKET"):
        return None
    needed = ("DURE_S3_ENDPOINT", "DURE_S3_ACCESS_KEY_ID", "DURE_S3_SECRET_ACCESS_KEY")
    missing = [name for name in needed if not environ.get(name)]
    if missing:
        what = "; ".join(f"export {name}=…" for name in missing)
        raise SettingsError(
            f"DURE_S3_BUCKET is set, but {', '.join(missing)} is not. Type: {what}; then dure up again."
        )
    return S3Settings(
        endpoint=environ["DURE_S3_ENDPOINT"],
        bucket=environ["DURE_S3_BUCKET"],
        region=environ.get("DURE_S3_REGION", "us-east-1"),
        access_key_id=environ["DURE_S3_ACCESS_KEY_ID"],
        secret_access_key=environ["DURE_S3_SECRET_ACCESS_KEY"],
        prefix=environ.get("DURE_S3_PREFIX", ""),
        role_arn=environ.get("DURE_S3_ROLE_ARN"),
        static_keys=environ.get("DURE_S3_STATIC_KEYS", "") == "1",
    )
