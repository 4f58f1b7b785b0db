"""Commands (what people ask), queries (what they see) and the loop (what happens): load, decide, commit, act."""
