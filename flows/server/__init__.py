"""Prefect's server, of commands and of `make up`: origin checks and queued SQLite writes."""
