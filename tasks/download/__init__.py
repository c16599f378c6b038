"""Download within bounds: one file over HTTP or from S3, or a model of the Hugging Face Hub."""
