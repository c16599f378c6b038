"""Online serving: one address for the champion, with batches and limits."""
