"""Compare a version of the pipeline with the champion, and decide which of them answers."""
