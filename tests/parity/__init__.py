"""Equality with other implementations: the same seeded random weights and the same input go into both."""
