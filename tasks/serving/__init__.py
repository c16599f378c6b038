"""Online serving: one address for the champion, with batches, limits and a record."""
