"""Scoring on the workers of a Dask cluster: checked workers, groups of shards, their drafts."""
