"""The folder that scoring writes and others read: records, tables, lock."""
