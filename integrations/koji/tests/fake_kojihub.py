"""What the hub plugin imports of a hub, and no more: `make_task` and the session of a call.

A hub itself is in no package registry, so this stands in for it. It refuses what the recorded hub refuses.
"""

import sys
import types
from typing import Any, Dict, List, Optional, Set

import koji
from koji.context import context

CHANNELS = ("default", "container", "container-binary")


class Session:
    """Who calls."""

    def __init__(self, user_id: Optional[int], permissions: Set[str]) -> None:
        self.user_id = user_id
        self.logged_in = user_id is not None
        self.permissions = permissions

    def hasPerm(self, name: str) -> bool:
        return self.logged_in and name in self.permissions


class FakeHub:
    """A hub's tasks. While it is installed, `import kojihub` finds it."""

    def __init__(self) -> None:
        self.tasks: List[Dict[str, Any]] = []
        module = types.ModuleType("kojihub")
        module.make_task = self.make_task  # type: ignore[attr-defined]
        sys.modules["kojihub"] = module
        self.login(12)

    def login(self, user_id: Optional[int], *permissions: str) -> None:
        """Who makes the calls from now on; None: nobody."""
        context.session = Session(user_id, set(permissions))

    def make_task(self, method: str, arglist: List[Any], **opts: Any) -> int:
        """As the hub does it, as far as the plugin can see."""
        if context.session.user_id is None:
            raise koji.GenericError("task must have an owner")
        channel = opts.get("channel", "default")
        if channel not in CHANNELS:
            raise koji.GenericError("No such channel: %s" % channel)
        task = {"method": method, "request": arglist, "priority": opts.get("priority", koji.PRIO_DEFAULT)}
        task.update({"owner": context.session.user_id, "channel": channel, "arch": opts.get("arch", "noarch")})
        task.update({"parent": opts.get("parent"), "label": opts.get("label")})
        self.tasks.append(task)
        return len(self.tasks)
