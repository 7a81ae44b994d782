"""Who may reach what over HTTP."""

from daemon.web.access.visitor import NOBODY, VISITOR, Role, Visitor, visitor

__all__ = ["NOBODY", "VISITOR", "Role", "Visitor", "visitor"]
