"""Download within bounds: one URL to one file over HTTP, or a model of the Hugging Face Hub."""
