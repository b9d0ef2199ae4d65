"""What vLLM needs where it has no GPU."""
