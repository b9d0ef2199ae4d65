"""Answers that are judged before anybody sees them, and the streams that are held back for it."""
