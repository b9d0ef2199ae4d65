"""What served traffic says of a router: drift, and how far a judge can be trusted.

Pure functions, arrays in and values out; `pipelines/traffic` reads the tables and tells people.
"""
