"""What upstreams say when they refuse: kinds, fields, waits, in each vendor's words."""
