"""Replies in OpenAI's shape, whatever came: JSON, choices, pieces of choices, events."""
