"""What a version is worth on served traffic: estimates with intervals, and a sequential test."""
