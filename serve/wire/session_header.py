"""The header that names a client's session, unless the operator names another."""

SESSION_HEADER = "x-session-id"
