"""Benchmarks that are run by hand or in nightly jobs; not part of the installed package."""
