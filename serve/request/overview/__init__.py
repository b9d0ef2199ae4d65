"""The overview as callers are told it."""
