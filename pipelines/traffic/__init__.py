"""Learning from the traffic that is served: shadow answers, labels from elsewhere, and what drifts."""
