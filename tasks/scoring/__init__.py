"""Score files shard after shard: find, plan, fan out, publish, check."""
