"""The hub plugin, loaded and called as a hub loads and calls plugins, with `fake_kojihub` for the hub.

Loading (`koji.plugin`), the check of arguments (`koji.util`), signatures (`koji.tasks`) and the wire
(`koji.xmlrpcplus`) are Koji's own, which the hub uses too.
"""

from pathlib import Path
from typing import Any, Dict, List, Tuple

import koji
import koji.plugin
import koji.tasks
import koji.util
import pytest
from fake_kojihub import FakeHub
from replaying_hub import recorded

HUB_PLUGINS = Path(__file__).resolve().parents[1] / "hub"
SOURCE = "git+ssh://pkgs.example.com/containers/caddy-container#0b7e1f5d3c2a49680123456789abcdef01234567"
TARGET = "f43-container-candidate"


class Hub(FakeHub):
    """The fake hub with the plugin in it."""

    def __init__(self) -> None:
        super().__init__()
        tracker = koji.plugin.PluginTracker(path=[str(HUB_PLUGINS)])
        plugin = tracker.load("hub_containerbuild", reload=True)
        exported = [value for value in vars(plugin).values() if getattr(value, "exported", False)]
        self.calls = {getattr(call, "export_alias", call.__name__): call for call in exported}

    def call(self, method: str, params: List[Any]) -> Any:
        """A call with its arguments as they come off the wire."""
        positional, named = koji.decode_args(*params)
        return koji.util.call_with_argcheck(self.calls[method], positional, named)


@pytest.fixture
def hub() -> Hub:
    return Hub()


def test_one_call_is_exported(hub: Hub) -> None:
    assert list(hub.calls) == ["buildContainer"]


# Recorded calls and the answer that tells of the task they made.
RECORDED: Dict[str, Tuple[str, str]] = {
    "ordinary": ("018", "028"),
    "scratch, in the background": ("119", "123"),
}


@pytest.mark.parametrize(("call", "task"), RECORDED.values(), ids=RECORDED.keys())
def test_recorded_calls_make_the_recorded_tasks(call: str, task: str, hub: Hub) -> None:
    (method, params), _ = recorded(call)
    assert hub.call(method, params) == 1
    made, seen = hub.tasks[0], recorded(task)[1]
    for key in ("method", "priority", "owner", "arch", "parent", "label"):
        assert made[key] == seen[key], key
    assert made["request"] == params[:3]
    assert made["channel"] == "container-binary"
    assert "request" not in seen or made["request"] == seen["request"]


# Arguments, and priority, channel and options of the task.
ARGUMENTS: Dict[str, Any] = {
    "least": ([SOURCE, TARGET], 20, "container", {}),
    "options nil": ([SOURCE, TARGET, None], 20, "container", {}),
    "priority nil": ([SOURCE, TARGET, {"scratch": True}, None], 20, "container", {"scratch": True}),
    "priority 0": ([SOURCE, TARGET, {}, 0], 20, "container", {}),
    "priority 5": ([SOURCE, TARGET, {}, 5], 25, "container", {}),
    "channel nil": ([SOURCE, TARGET, {}, None, None], 20, "default", {}),
    "channel": ([SOURCE, TARGET, {}, None, "container-binary"], 20, "container-binary", {}),
    "by name": ([{"src": SOURCE, "target": TARGET, "opts": {"a": 1}, "__starstar": True}], 20, "container", {"a": 1}),
    "nothing is checked": (["no url", "no target", {"a": 1}], 20, "container", {"a": 1}),
}


@pytest.mark.parametrize(("params", "priority", "channel", "opts"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
def test_arguments(params: List[Any], priority: int, channel: str, opts: Dict[str, Any], hub: Hub) -> None:
    assert hub.call("buildContainer", params) == 1
    task = hub.tasks[0]
    assert (task["priority"], task["channel"], task["request"][2]) == (priority, channel, opts)


def test_an_administrator_may_come_first(hub: Hub) -> None:
    hub.login(1, "admin")
    hub.call("buildContainer", [SOURCE, TARGET, {}, -5])
    assert hub.tasks[0]["priority"] == 15


# Who calls with which arguments, and the fault.
FAULTS: Dict[str, Any] = {
    "not logged in": (None, [SOURCE, TARGET, {}], 1000, "task must have an owner"),
    "first without a right": (12, [SOURCE, TARGET, {}, -5], 1004, "only admins may create high-priority tasks"),
    "first and not logged in": (None, [SOURCE, TARGET, {}, -5], 1004, "only admins may create high-priority tasks"),
    "unknown channel": (12, [SOURCE, TARGET, {}, None, "none"], 1000, "No such channel: none"),
    "too few arguments": (12, [SOURCE], 1019, "missing 1 required positional argument: 'target'"),
    "unknown argument": (12, [SOURCE, TARGET, {"no": 1, "__starstar": True}], 1019, "unexpected keyword argument 'no'"),
}


@pytest.mark.parametrize(("user", "params", "code", "text"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(user: Any, params: List[Any], code: int, text: str, hub: Hub) -> None:
    hub.login(user)
    with pytest.raises(koji.GenericError) as raised:
        hub.call("buildContainer", params)
    assert raised.value.faultCode == code
    assert text in str(raised.value)
    assert hub.tasks == []


@pytest.mark.parametrize("number", ["141", "142"])
def test_recorded_faults(number: str, hub: Hub) -> None:
    (method, params), fault = recorded(number)
    hub.login(None if number == "141" else 12)
    with pytest.raises(koji.GenericError) as raised:
        hub.call(method, params)
    assert (raised.value.faultCode, str(raised.value)) == (fault.faultCode, fault.faultString)


def test_policies_see_the_parameters_by_name(hub: Hub) -> None:
    request = [SOURCE, TARGET, {"scratch": True}]
    parsed = koji.tasks.parse_task_params("buildContainer", request)
    assert parsed == {"src": SOURCE, "target": TARGET, "opts": {"scratch": True}}
