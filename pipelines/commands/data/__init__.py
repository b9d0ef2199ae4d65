"""Commands about what people bring: their prices, their data."""
