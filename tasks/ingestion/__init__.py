"""Bytes and tables from outside: downloaded, unpacked, parsed and checked."""
