"""The overview as callers see it."""
