"""The commands that run a platform: up, down, init, doctor, demo, user, simulate, render, and the hidden `control`.

Heavy parts are imported inside the commands, so that `dure --help` stays quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from dure.cli.telling import ToldCommand, option
from dure.client.config import platform_folder
from dure.main.simulating import simulate

_DIR = option(
    "--dir",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=platform_folder,
    en="The folder that holds all state (default: ~/.dure, or $DURE_DIR).",
    ko="모든 상태를 담는 폴더(기본: ~/.dure 또는 $DURE_DIR)",
)


@click.command()
@_DIR
@option(
    "--port",
    type=click.IntRange(1, 65535),
    en="The address's port (default: a free one, kept for later).",
    ko="포트(기본: 빈 포트를 골라 계속 사용)",
)
@option(
    "--address",
    default="127.0.0.1",
    en="Where to listen (default: this machine only).",
    ko="접속을 받을 주소(기본: 이 컴퓨터만)",
)
@option(
    "--no-hub",
    is_flag=True,
    en="Only the control plane, with a token, for one person's own Jupyter.",
    ko="한 사람의 Jupyter를 위해 토큰으로 접속하는 제어부만 시작합니다.",
)
@option(
    "--system-users",
    is_flag=True,
    en="As root: an operating-system account for each person.",
    ko="root로 실행: 사람마다 운영 체제 계정을 씁니다.",
)
@option(
    "--detach",
    "-d",
    is_flag=True,
    en="Return when it is ready; end it with `dure down`.",
    ko="준비되면 돌아옵니다. `dure down`으로 종료합니다.",
)
@option(
    "--lang",
    type=click.Choice(["en", "ko"]),
    en="Language of what is printed (default: your locale's).",
    ko="출력 언어(기본: 로캘의 언어)",
)
def up(
    state_dir: Path, port: int | None, address: str, *, no_hub: bool, system_users: bool, detach: bool, lang: str | None
) -> None:
    """Start the platform and print one link that signs you in."""
    from dure.main import running

    options = running.UpOptions(
        state_dir=state_dir.resolve(), port=port, address=address, no_hub=no_hub, system_users=system_users, lang=lang
    )
    with running.told():
        (running.up_detached if detach else running.up)(options)


@click.command()
@_DIR
def down(state_dir: Path) -> None:
    """End the platform of a folder and leave nothing running. State is kept."""
    from dure.main import running

    with running.told():
        running.down(state_dir.resolve())


@click.command()
@_DIR
def init(state_dir: Path) -> None:
    """Write a commented platform.yaml from what this machine has."""
    from dure.main import running

    with running.told():
        running.init(state_dir.resolve())


@click.command()
@_DIR
@option("--json", "as_json", is_flag=True, en="Print the checks as JSON.", ko="점검 결과를 JSON으로 출력합니다.")
def doctor(state_dir: Path, *, as_json: bool) -> None:
    """Check this machine and the platform: one line a check, green or with one command that mends it."""
    from dure.main.doctor import report

    sys.exit(report(state_dir.resolve(), as_json=as_json))


@click.command()
@option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    en="Where to leave notebooks and report.",
    ko="노트북과 보고서를 남길 폴더",
)
@option(
    "--lang",
    type=click.Choice(["en", "ko"]),
    en="Language of the story (default: your locale's).",
    ko="시연의 언어(기본: 로캘의 언어)",
)
def demo(keep: Path | None, lang: str | None) -> None:
    """The scripted tour: two people, real notebooks, more cells than GPUs, and a control plane that is killed."""
    from dure.main.tour import tour

    sys.exit(tour((keep or Path("dure-demo")).resolve(), lang))


@click.group()
def user() -> None:
    """Invite people and see who may sign in."""


@user.command(
    "add",
    cls=ToldCommand,
    ko="NAME을 한 번 로그인시키는 링크를 만듭니다. 비밀번호는 작업 공간의 비밀번호에서 정합니다.",
)
@click.argument("name")
@option(
    "--team",
    "teams",
    multiple=True,
    en="A team of platform.yaml to put the person into; may be repeated.",
    ko="이 사람을 넣을 platform.yaml의 팀. 여러 번 쓸 수 있습니다.",
)
@option("--admin", is_flag=True, en="May administer the platform.", ko="플랫폼을 관리할 수 있습니다.")
@_DIR
def user_add(name: str, teams: tuple[str, ...], state_dir: Path, *, admin: bool) -> None:
    """Make a link that signs NAME in once; they set a password under Workspaces, Password."""
    from dure.main import running

    with running.told():
        running.invite(state_dir.resolve(), name, teams, admin=admin)


@user.command("list", cls=ToldCommand, ko="계정이 있는 사람의 목록을 봅니다.")
@_DIR
def user_list(state_dir: Path) -> None:
    """List who has an account."""
    from dure.main import running

    with running.told():
        running.list_users(state_dir.resolve())


@click.command()
@_DIR
@option(
    "--to",
    "target",
    type=click.Choice(["kueue"]),
    required=True,
    en="What to write the platform file as.",
    ko="platform.yaml을 옮겨 쓸 형식",
)
@option("--waiting", is_flag=True, en="Also the waiting jobs, as Workloads.", ko="대기 중인 작업도 Workload로 씁니다.")
def render(state_dir: Path, target: str, *, waiting: bool) -> None:
    """Print the queueing part of platform.yaml as Kueue's documents, ready for `kubectl apply -f -`."""
    from ruamel.yaml import YAML

    from dure.adapters import platform_file
    from dure.core.queueing.render import kueue_documents
    from dure.main import running

    with running.told():
        platform = platform_file.load(state_dir.resolve() / "platform.yaml")
        documents = kueue_documents(platform)
        if waiting:
            documents += running.waiting_workloads(state_dir.resolve(), platform)
        click.echo(f"# {target}: from {state_dir / 'platform.yaml'}; public clusters' flavors are in no queue (burst)")
        YAML(typ="safe", pure=True).dump_all(documents, sys.stdout)


@click.command(hidden=True)
@_DIR
@click.option("--port", type=int, required=True)
@click.option("--address", default="127.0.0.1")
@click.option("--identity", type=click.Choice(["token", "hub", "header"]), default="token")
@click.option("--base-path", default="")
@click.option("--system-users", is_flag=True)
def control(state_dir: Path, port: int, address: str, identity: str, base_path: str, *, system_users: bool) -> None:
    """Run one control plane in this process."""
    from typing import cast

    from dure.main import control_plane, running
    from dure.settings import IdentityKind, read_settings

    with running.told():
        settings = read_settings(
            state_dir,
            os.environ,
            port=port,
            address=address,
            identity=cast("IdentityKind", identity),
            base_path=base_path,
            system_users=system_users,
        )
        control_plane.run(settings)


COMMANDS: list[click.Command] = [up, down, init, doctor, demo, user, simulate, render, control]
