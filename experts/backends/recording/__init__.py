"""The tables of a folder of recorded answers."""
