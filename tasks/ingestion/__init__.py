"""Ingestion: archives, compression, and the parsing of CSV, JSONL and Parquet."""
