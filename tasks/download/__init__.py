"""Download: one URL to one file over HTTP, resumed, asked again, within bounds."""
