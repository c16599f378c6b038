"""HTML reports, Markdown summaries, tables, and the lineage of a row."""
