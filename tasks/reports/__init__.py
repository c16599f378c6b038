"""HTML reports, Markdown summaries and tables."""
