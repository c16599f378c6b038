"""Prefect's server for `make up`: event order, log format, work pool, deployments, automations."""
