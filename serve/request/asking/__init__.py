"""Whom to ask for one answer, in which course, and which of the answers to give back."""
