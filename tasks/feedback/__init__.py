"""Feedback: labels of people, joined with the answers that were given, kept, and weighed."""
