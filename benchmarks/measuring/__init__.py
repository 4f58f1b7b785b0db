"""What several benchmarks need: figures and tables, the machine, a running platform, databases, peers."""
