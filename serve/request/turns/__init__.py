"""Requests that have to wait here: for a place at the door, or at an expert."""
