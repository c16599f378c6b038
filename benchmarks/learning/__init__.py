"""`make learn-bench`: ways to learn from a stream of labels, on data that changes."""
