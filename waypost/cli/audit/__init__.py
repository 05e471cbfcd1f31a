"""`waypost audit`."""
