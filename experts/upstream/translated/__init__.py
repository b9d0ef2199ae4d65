"""APIs that speak other dialects: litellm words requests and replies, our own connections carry them."""
