"""What upstreams say when they refuse: kinds, fields, waits, in each house's words."""
