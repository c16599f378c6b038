"""Databases and files by name: where their addresses come from."""
