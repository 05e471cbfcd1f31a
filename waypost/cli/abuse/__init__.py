"""`waypost abuse`."""
