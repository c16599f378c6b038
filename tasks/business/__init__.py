"""Look-ups and rules of a composition file: read, and checked against their sources."""
