"""Measures of a classifier: calibration, the baseline, and what to try next."""
