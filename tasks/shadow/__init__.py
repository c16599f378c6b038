"""Let other versions answer a sample of the rows, after a run has published them."""
