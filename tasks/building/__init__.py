"""Wrap a fine-tuned model as an inference pipeline: gates, verification."""
