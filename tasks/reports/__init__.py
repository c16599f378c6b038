"""What people look at: HTML reports, Markdown summaries, tables, lineage of a row."""
