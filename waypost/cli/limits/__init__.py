"""`waypost limits`."""
