"""REST and event streams over HTTP: translates requests into commands and queries, and refusals into problems."""
