"""Whether a gap is worth closing, whether it is closed, and what that bought."""
