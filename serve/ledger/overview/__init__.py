"""What operators and keys see of their requests: counted as they settle, never read from all of them."""
