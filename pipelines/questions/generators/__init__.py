"""Every file here is imported when questions are made; a file holds the generators of one idea."""
