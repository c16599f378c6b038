"""Arms of an A/B split: which version answers a row, its answers, and the counts of each."""
