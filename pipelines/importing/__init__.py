"""Answers and scores that people have already, from other programs' files; a kind is a file and a row."""
