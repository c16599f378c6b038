"""The persistent prediction cache, and single-flight deduplication between threads."""
