"""Learn from corrected labels: a new head near the parent's, fitted to features that are kept."""
