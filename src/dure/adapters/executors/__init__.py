"""Executors: where attempts run. `local` runs them as processes of this machine."""
