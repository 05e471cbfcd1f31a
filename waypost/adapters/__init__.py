"""One module for each technology that answers a port; only the `app.py` of a service names them."""
