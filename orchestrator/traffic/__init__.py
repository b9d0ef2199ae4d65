"""What served traffic says about a router: drift, corrections, and how reliable a judge is.

Pure functions, arrays in and values out; `pipelines/traffic` reads the tables and tells people.
"""
