"""Data, objective and metrics that belong together."""
