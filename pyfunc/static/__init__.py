"""The static classifier: a table of logits of tokens and pairs of tokens, averaged over a text."""
