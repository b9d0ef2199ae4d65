"""Who may spend: keys, the teams above them, and the budgets of both."""
