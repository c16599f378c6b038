"""Business logic around the model: look-ups before it, rules before and after it."""
