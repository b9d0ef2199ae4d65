"""The documentation site: pages made from the code, and the commands that its pages show."""
