"""The value of a version on served traffic: estimates with intervals, and a sequential test."""
