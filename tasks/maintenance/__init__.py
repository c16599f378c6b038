"""Find and free what is no longer needed: outputs, versions, checkpoints, cache entries."""
