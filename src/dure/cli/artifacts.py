"""`dure artifacts list | get`: the files that a job left under $DURE_OUTPUT_DIR.

The trap: a job chose the names, so nothing is written outside the target folder and nothing is replaced unasked.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from dure.cli.jobs import JOB
from dure.cli.telling import AS_JSON, ToldCommand, connect, lang_of, option, print_json, table, visible, warn
from dure.client.errors import failure
from dure.client.words import size_word

if TYPE_CHECKING:
    from dure.client import Client


@click.group()
def artifacts() -> None:
    """List and download a job's files."""


@artifacts.command("list", cls=ToldCommand, ko="작업이 남긴 파일의 목록을 봅니다.")
@JOB
@AS_JSON
@click.pass_context
def list_(ctx: click.Context, job_id: str, *, as_json: bool) -> None:
    """List a job's files."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    found = client.artifacts(job_id)
    if as_json:
        print_json([artifact.model_dump(mode="json") for artifact in found])
        return
    korean = lang == "ko"
    rows = [(artifact.path, size_word(artifact.size_bytes), artifact.digest[:12]) for artifact in found]
    table(
        ("경로", "크기", "다이제스트") if korean else ("PATH", "SIZE", "DIGEST"),
        rows,
        "산출물이 없습니다." if korean else "No artifacts.",
    )


@artifacts.command("get", cls=ToldCommand, ko="작업이 남긴 파일을 내려받습니다. PATH를 생략하면 모두 받습니다.")
@JOB
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@option(
    "--output",
    "-o",
    default=".",
    type=click.Path(file_okay=False, path_type=Path),
    en="Folder to write to.",
    ko="저장할 폴더",
)
@option("--force", is_flag=True, en="Replace files that exist.", ko="있는 파일을 덮어씁니다.")
@AS_JSON
@click.pass_context
def get(ctx: click.Context, job_id: str, paths: tuple[str, ...], *, output: Path, force: bool, as_json: bool) -> None:
    """Download a job's files, all of them when no PATH is given."""
    lang, client = lang_of(ctx), connect(ctx, retry_s=5)
    known = {artifact.path: artifact for artifact in client.artifacts(job_id)}
    for path in paths:
        if path not in known:
            raise failure("artifact_not_found", lang, job=job_id, path=path)
    wanted = paths or tuple(known)
    targets = {path: _target(output, path, lang, force=force) for path in wanted}
    written = [_saved(client, job_id, path, target) for path, target in targets.items()]
    if as_json:
        print_json(written)
        return
    for one in written:
        click.echo(visible(str(one["file"])))  # a name is no sentence: what looks like a time in it stays
    if not written:
        warn("산출물이 없습니다." if lang == "ko" else "No artifacts.")


def _target(output: Path, path: str, lang: str, *, force: bool) -> Path:
    inside = PurePosixPath(path)
    target = output / inside
    if inside.is_absolute() or ".." in inside.parts or not target.parent.resolve().is_relative_to(output.resolve()):
        problem = "it would lie outside the folder"
        raise failure("target_unwritable", lang, path=str(target), problem=problem)
    if (target.exists() or target.is_symlink()) and not force:
        raise failure("target_exists", lang, path=str(target))
    return target


def _saved(client: Client, job_id: str, path: str, target: Path) -> dict[str, str | int]:
    return {"path": path, "file": str(target), "size_bytes": client.save_artifact(job_id, path, target)}
