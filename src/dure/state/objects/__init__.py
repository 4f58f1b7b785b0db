"""How objects become pickles and pickles become the same objects again."""
