"""The endpoint's page: one document, put together from its parts."""
