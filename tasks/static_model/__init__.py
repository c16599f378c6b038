"""The static classifier: its tokenizer, its training, a reference, and its MLflow flavour."""
