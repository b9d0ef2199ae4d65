"""The forge: from a gap to an adapter of a small model that closes it. A file per step."""
