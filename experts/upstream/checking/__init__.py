"""Finding out what an expert's API takes, and what its model can do, by asking."""
