"""Who calls, and what they may do: credentials, roles, scopes and the table of all methods. Imports no service."""
