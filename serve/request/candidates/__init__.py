"""The experts that may answer a request, and of those the ones that can."""
