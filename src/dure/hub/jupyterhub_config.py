"""What `jupyterhub -f` reads: hands the settings that `dure up` wrote to dure.hub.configuration.

Trap: `get_config` exists only because JupyterHub puts it into this file's namespace; nothing can import this file.
"""

from __future__ import annotations

import os
from pathlib import Path

from dure.hub import accounts, hub_settings
from dure.hub.configuration import configure

# Taken out of the environment, so that nothing the Hub starts learns where its secrets are.
settings = hub_settings.read(Path(os.environ.pop(hub_settings.ENV)))
accounts.write_teams(Path(settings.state_dir), settings.teams, settings.admins)
configure(get_config(), settings)  # type: ignore[name-defined]  # noqa: F821 - see above
