"""Prefect's server: SQLite writes, event order, log format, work pool, deployments, automations."""
