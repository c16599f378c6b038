"""Pages of reports: their parts, plots and number formats, drawn as one HTML file."""
