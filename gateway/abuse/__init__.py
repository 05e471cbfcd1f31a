"""Reports of harmful links, by anybody, and operators who look at them and block links.

Asks for `waypost.abuse_ports` and tells the gateway's cache of redirects at once what it has changed; other gateways
hear of it from the change feed.
"""
