"""Shell completion: the script for each shell, and what job ids, tiers and other names may be completed to.

The trap: completion runs at each press of Tab, so it asks the platform once, briefly, and any failure means "nothing
to offer", never a message on the person's prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from dure.client.errors import DureError
from dure.client.options import values_of

if TYPE_CHECKING:
    from dure.client import Client
    from dure.client.options import Option

_ASKED_S = 2.0
Completer = Callable[[click.Context, click.Parameter, str], list[Any]]


def job_ids(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    """Return the ids of recent jobs that begin so, with their names."""
    try:
        with _brief() as client:
            found = client.jobs(limit=100).jobs
    except DureError:
        return []
    return [
        CompletionItem(job.id, help=f"{job.phase} {job.name}".replace("\n", " ")[:60])
        for job in found
        if job.id.startswith(begun)
    ]


def option_values(option: Option) -> Completer:
    """Return the completer of a job option's values."""

    def values(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
        platform = None
        if option.choices is not None:
            try:
                with _brief() as client:
                    platform = client.platform()
            except DureError:
                return []
        return [value for value in values_of(option, platform) if value.startswith(begun)]

    return values


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    r"""Print the shell's completion script: eval "$(dure completion bash)"."""
    from click.shell_completion import get_completion_class

    from dure.cli.app import GROUP

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(GROUP, {}, "dure", "_DURE_COMPLETE").source())


def _brief() -> Client:
    from dure.client import Client

    return Client(retry_s=0, timeout_s=_ASKED_S)
