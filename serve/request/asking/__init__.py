"""The course of asking for one answer: which experts to ask, in which order, and which answer to return."""
