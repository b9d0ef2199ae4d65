"""What a version is worth on the traffic that was served: estimates with intervals, a sequential test, drift."""
