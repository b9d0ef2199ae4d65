"""``leeroo forge``: a file per part of it."""
