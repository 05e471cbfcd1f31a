"""What the gateway does with workspaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

from gateway.accounts.fields import name_of, page_size, subject_of
from gateway.accounts.page_tokens import PageTokens
from gateway.accounts.ports import Memberships, Workspaces
from gateway.accounts.requests import Page
from gateway.requests import Caller
from gateway.rules import Violations
from waypost.access.identity import Identity, Role, Scope
from waypost.accounts import Workspace
from waypost.audit import Action, entry_of
from waypost.errors import PermissionDenied, ResourceNotFound
from waypost.ports import AccountReader, Storage

_PERSON = "user:"
_LIST = PageTokens("workspaces")


class WorkspaceHandlers:
    """The use cases of WorkspaceService. All raise `DependencyUnavailable`.

    `memberships` None: nobody is a member of anything, since there are no tokens here. `fold` as for members.
    """

    def __init__(
        self,
        storage: Storage,
        reader: AccountReader,
        workspaces: Workspaces,
        memberships: Memberships | None,
        fold: Callable[[str], str] = str,
    ) -> None:
        self._fold = fold
        self._storage = storage
        self._reader = reader
        self._workspaces = workspaces
        self._memberships = memberships

    async def create(self, name: str, owner_subject: str, identity: Identity, correlation_id: str) -> Workspace:
        """Makes a workspace, for operators; with its first owner, if one is named. Raises `InvalidFields`."""
        owner_subject = self._fold(owner_subject)
        violations = Violations()
        kept = violations.collect(lambda: name_of(name)) or ""
        if owner_subject:
            violations.collect(lambda: subject_of(owner_subject, "owner_subject"))
        violations.raise_any()
        workspace_id = uuid4()
        named = {"name": kept} | ({"owner_subject": owner_subject} if owner_subject else {})
        entries = [
            entry_of(identity, correlation_id, Action.WORKSPACE_CREATE, str(workspace_id), named, workspace_id),
        ]
        if owner_subject:
            role = {"role": Role.OWNER.value}
            entries.append(entry_of(identity, correlation_id, Action.MEMBER_ADD, owner_subject, role, workspace_id))
        return await self._workspaces.create_workspace(workspace_id, kept, owner_subject, entries)

    async def page(self, page: Page, identity: Identity) -> tuple[Sequence[Workspace], str]:
        """A page of what the caller may name in `x-workspace`, and the token of the next. Raises `InvalidFields`."""
        violations = Violations()
        size = violations.collect(lambda: page_size(page.size)) or 0
        after = violations.collect(lambda: _LIST.workspace(page.token))
        violations.raise_any()
        own = await self._own(identity)
        if own is not None and not own:
            # Strangers may ask this, too: they are to take no connection from operators.
            return (), ""
        found = await self._workspaces.list_workspaces(own, size + 1, after)
        return found[:size], _LIST.of_workspace(found[size - 1].workspace_id) if len(found) > size else ""

    async def get(self, caller: Caller) -> Workspace:
        """The workspace that the call runs in. Raises `ResourceNotFound`."""
        return _present(await self._reader.get_workspace(caller.workspace_id), caller)

    async def rename(self, name: str, caller: Caller) -> Workspace:
        """Gives the workspace that the call runs in a name. Raises `InvalidFields`, `ResourceNotFound`."""
        kept = name_of(name)
        async with self._storage.unit_of_work(caller.workspace_id) as work:
            before = _present(await work.workspace.lock(), caller)
            if before.name == kept:
                return before
            after = _present(await work.workspace.rename(kept), caller)
            details = {"name": kept, "name_before": before.name}
            await work.audit.add_all(
                [
                    entry_of(
                        caller.identity,
                        caller.correlation_id,
                        Action.WORKSPACE_UPDATE,
                        str(caller.workspace_id),
                        details,
                        caller.workspace_id,
                    )
                ]
            )
            await work.commit()
        return after

    async def _own(self, identity: Identity) -> Sequence[UUID] | None:
        """The workspaces that the caller may name; None: all. Raises `PermissionDenied` for keys that may read none."""
        if identity.role is not None and Scope.WORKSPACE_READ not in identity.scopes:
            raise PermissionDenied(Scope.WORKSPACE_READ)
        if identity.operator:
            return None
        if identity.principal.startswith(_PERSON):
            if self._memberships is None:
                return ()
            subject = identity.principal.removeprefix(_PERSON)
            return [membership.workspace_id for membership in await self._memberships.read_memberships(subject)]
        # A key's own. Who is anonymous has none, though their links have one.
        return () if identity.anonymous or identity.workspace_id is None else (identity.workspace_id,)


def _present(workspace: Workspace | None, caller: Caller) -> Workspace:
    if workspace is None:
        raise ResourceNotFound("workspace", str(caller.workspace_id))
    return workspace
