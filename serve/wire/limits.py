"""Bounds that a request and a key share. Light: the ledger and the command line read it."""

SHORTEST_LATENCY_S = 0.1  # that may be asked for an answer
