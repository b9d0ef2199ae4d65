"""Commands for those who may use an endpoint: keys, teams, and what they used."""
