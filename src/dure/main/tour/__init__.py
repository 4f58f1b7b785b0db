"""`dure demo`: the scripted tour on real parts, which checks its own story."""

from __future__ import annotations

from dure.main.tour.script import tour

__all__ = ["tour"]
