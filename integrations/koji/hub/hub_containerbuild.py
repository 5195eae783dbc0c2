"""The call `buildContainer` for a Koji hub: it makes the task that a container builder takes.

The hub loads this file from its `PluginPath` when `Plugins` names `hub_containerbuild` (docs/koji.md). It needs nothing
but `kojihub.make_task`, and checks nothing that a builder checks: an unknown target fails the task, not the call.
"""

import sys
from typing import Any, Dict, Optional

import koji
import koji.tasks
from koji.context import context
from koji.plugin import export

try:
    import kojihub
except ImportError:  # hubs before 1.33 are no package of Python's; they lie here
    sys.path.append("/usr/share/koji-hub")
    import kojihub

__all__ = ("buildContainer",)

# The channel whose hosts build containers. An administrator adds it: `koji add-channel container`.
DEFAULT_CHANNEL = "container"

# Tells the hub what the task's parameters are called, so that its policies can test them.
koji.tasks.LEGACY_SIGNATURES["buildContainer"] = [[["src", "target", "opts"], None, None, (None,)]]


@export
def buildContainer(
    src: str,
    target: str,
    opts: Optional[Dict[str, Any]] = None,
    priority: Optional[int] = None,
    channel: Optional[str] = DEFAULT_CHANNEL,
) -> int:
    """Creates a task that builds the container image of a source for a target.

    src: URL#COMMIT of the repository; target: name of a build target; opts: options for the builder; priority: relative
    to the default of 20, higher is later, below 0 for administrators only; channel: whose hosts may take the task.
    Returns the id of the task.
    """
    hints: Dict[str, Any] = {}
    if channel:
        hints["channel"] = channel
    if priority:
        if priority < 0 and not context.session.hasPerm("admin"):
            raise koji.ActionNotAllowed("only admins may create high-priority tasks")
        hints["priority"] = koji.PRIO_DEFAULT + priority
    task_id: int = kojihub.make_task("buildContainer", [src, target, opts or {}], **hints)
    return task_id
