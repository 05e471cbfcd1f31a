"""Overrides: other numbers than the rules give, set by operators for single descriptors and followed by every replica.

Asks for `waypost.override_ports`; what is in force is in memory (`live`), told by the database's feed.
"""
