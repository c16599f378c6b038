"""Labelled text: found, read, checked, split, and held out for a first try."""
