"""Forecast: how long a job runs and what it costs, when a waiting one starts, and how far such words can be trusted."""
