"""The service template, promise by promise."""
