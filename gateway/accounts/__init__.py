"""Workspaces, members, keys and the audit log: WorkspaceService, MemberService, KeyService and AuditService.

Needs storage, readers of accounts and of the audit log (`waypost.ports`), and the directory of workspaces (`ports`).
"""
