"""Several classifiers in one pipeline: the tree of their composition, and its evaluation."""
