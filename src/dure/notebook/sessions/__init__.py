"""A notebook's session: saved after its cells, brought back when it is opened, and the `%session` commands."""
