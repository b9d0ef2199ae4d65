"""The admin API: keys, teams and usage, for an admin's key."""
