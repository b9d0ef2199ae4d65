"""Answers that were given before, given again: which requests they fit, and how long they are kept."""
