"""JupyterHub as Dure's front door: login, workspaces, the proxy, and what starts and stops them.

Trap: `jupyterhub_config.py` and everything it imports runs inside the Hub's own process; `front_door.py` runs
in `dure up`.
"""
