"""The lineage of a row: what made its answer, and whether it can be repeated."""
