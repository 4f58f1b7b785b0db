"""Keys for S3 that reach one team's prefix only, made with the administrator's keys and kept in a private file.

With `role_arn` they are temporary (STS AssumeRole with a session policy); else each team is an IAM user of its own
with a policy, which AWS and SeaweedFS both know; with `static_keys` everybody gets the administrator's keys and nothing
keeps teams apart. The trap: a kept key may have been revoked or its server replaced, so each is tried once per start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from dure.ports import Clock
    from dure.settings import S3Settings

SESSION_S = 12 * 3600  # what AWS gives at most; a role may allow less
SHORT_SESSION_S = 3600
_USER_CHARS = 40
_TRIES, _PAUSE_S = 60, 0.25
_ANSWER_S = 30
_READ_S = 600  # of one object, which may be a large artifact


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs requests. `until` is when temporary ones end, in seconds since the epoch; None for lasting ones."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    until: float | None = None


class TeamKeys:
    """Makes and remembers keys. Safe to use from several threads; one control plane at a time."""

    def __init__(self, settings: S3Settings, file: Path, clock: Clock) -> None:
        self._settings = settings
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._tried: dict[str, Keys] = {}
        # Keys of another server, bucket or prefix are of no use here.
        place = f"{settings.endpoint}|{settings.bucket}|{settings.prefix}|{settings.access_key_id}|{settings.role_arn}"
        self._place = hashlib.blake2s(place.encode(), digest_size=8).hexdigest()

    def of(self, team: str, prefix: str) -> Keys:
        """Return keys that reach `prefix` only. Raises botocore's errors when the server refuses to make them."""
        if self._settings.static_keys:
            return Keys(self._settings.access_key_id, self._settings.secret_access_key)
        with self._lock:
            keys = self._tried.get(team)
            if keys is None and (kept := self._kept().get(team)) is not None and self._works(kept, prefix):
                keys = kept
            if keys is None or self._ends_soon(keys):
                keys = self._session(team, prefix) if self._settings.role_arn else self._user(team, prefix)
                self._keep(team, keys)
            self._tried[team] = keys
            return keys

    def _user(self, team: str, prefix: str) -> Keys:
        from botocore.exceptions import ClientError

        iam = self._client("iam")
        place = hashlib.blake2s(f"{self._place}/{team}".encode(), digest_size=4).hexdigest()
        user = f"dure-{team[:_USER_CHARS]}-{place}"
        try:
            iam.create_user(UserName=user)
        except ClientError as error:
            if error.response["Error"]["Code"] != "EntityAlreadyExists":
                raise
        # Keys that are on no record are of no use to us, and AWS allows two.
        for old in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=user, AccessKeyId=old["AccessKeyId"])
        made = iam.create_access_key(UserName=user)["AccessKey"]
        iam.put_user_policy(UserName=user, PolicyName="dure", PolicyDocument=self._policy(prefix))
        keys = Keys(made["AccessKeyId"], made["SecretAccessKey"])
        self._wait_until_known(keys, prefix)
        return keys

    def _session(self, team: str, prefix: str) -> Keys:
        from botocore.exceptions import ClientError

        sts = self._client("sts")
        asked = {
            "RoleArn": self._settings.role_arn,
            "RoleSessionName": f"dure-{team[:_USER_CHARS]}",
            "Policy": self._policy(prefix),
        }
        try:
            made = sts.assume_role(**asked, DurationSeconds=SESSION_S)["Credentials"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            made = sts.assume_role(**asked, DurationSeconds=SHORT_SESSION_S)["Credentials"]
        return Keys(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"], made["Expiration"].timestamp())

    def _policy(self, prefix: str) -> str:
        bucket = f"arn:aws:s3:::{self._settings.bucket}"
        objects = ["s3:GetObject", "s3:PutObject"]
        listing = {"StringLike": {"s3:prefix": [f"{prefix}/*"]}}
        statements = [
            {"Effect": "Allow", "Action": objects, "Resource": [f"{bucket}/{prefix}/*"]},
            {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [bucket], "Condition": listing},
        ]
        return json.dumps({"Version": "2012-10-17", "Statement": statements})

    def _works(self, keys: Keys, prefix: str) -> bool:
        from obstore.exceptions import BaseError

        try:
            next(iter(opened(self._settings, keys).list(f"{prefix}/", chunk_size=1)), None)
        except BaseError as error:
            if re.search(r"status code: 40[013]\b", str(error)):  # a refused listing has no type of its own
                return False
            raise
        return True

    def _wait_until_known(self, keys: Keys, prefix: str) -> None:
        # New keys take a moment to reach the servers that check them; without this the first job would be refused.
        pause = threading.Event()
        for _ in range(_TRIES):
            if self._works(keys, prefix):
                return
            pause.wait(_PAUSE_S)

    def _client(self, service: str) -> Any:
        from botocore.config import Config
        from botocore.session import Session

        settings = self._settings
        # AWS has addresses of its own for IAM and STS; other servers answer both where S3 is.
        aws = settings.endpoint.rstrip("/").endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return Session().create_client(
            service,
            region_name=settings.region,
            endpoint_url=None if aws else settings.endpoint,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            config=Config(connect_timeout=5, read_timeout=_ANSWER_S, retries={"max_attempts": 3}),
        )

    def _ends_soon(self, keys: Keys) -> bool:
        """Return whether temporary keys have less than half of the shortest session left, so that jobs can end."""
        return keys.until is not None and keys.until - self._clock.now() < SHORT_SESSION_S / 2

    def _kept(self) -> dict[str, Keys]:
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            if document["place"] != self._place:
                return {}
            return {team: Keys(**keys) for team, keys in document["teams"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # damaged: keys are made anew, which is all that this file saves

    def _keep(self, team: str, keys: Keys) -> None:
        document = {
            "place": self._place,
            "teams": {name: asdict(each) for name, each in (self._kept() | {team: keys}).items()},
        }
        partial = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            json.dump(document, handle)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(self._file)


def opened(settings: S3Settings, keys: Keys) -> Any:
    """Return obstore's store for the bucket with these keys; its calls end within minutes, whatever the server does."""
    from obstore.store import S3Store

    session: dict[str, Any] = {"session_token": keys.session_token} if keys.session_token else {}
    return S3Store(
        settings.bucket,
        endpoint=settings.endpoint,
        region=settings.region,
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key,
        client_options={
            "allow_http": settings.endpoint.startswith("http://"),
            "connect_timeout": "5s",
            "timeout": f"{_READ_S}s",
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=_ANSWER_S)},
        **session,
    )
