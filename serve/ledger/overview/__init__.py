"""The overview of requests for operators and keys: counted as requests settle, never read from all rows."""
