"""Alerts of budgets: noted in the ledger with what caused them, and sent from there."""
