"""What we are compared with, each run in the peers' own environment."""
