"""How well and how fast jobs are scheduled and placed, each beside the peers' policies in the same run."""
