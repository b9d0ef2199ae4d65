"""What a request needs of an expert, and which experts can serve it."""
