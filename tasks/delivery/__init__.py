"""Deliver published shards into a table of a database, every row exactly once."""
