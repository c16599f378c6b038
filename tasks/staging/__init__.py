"""Rows of a shard, and their look-ups, on their way from task to task as Arrow files; leases."""
