"""`waypost whoami`, `workspaces`, `members` and `keys`."""
