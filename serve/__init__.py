"""The endpoint people call: an OpenAI-compatible application on Ray Serve, with the champion inside.

Import :func:`serve.app.build` for ``serve run``, and :mod:`serve.run` to start it from a program.
"""
