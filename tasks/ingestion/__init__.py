"""Ingestion: archives, compression, and the parsing of CSV, JSON and Parquet."""
