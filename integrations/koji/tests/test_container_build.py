"""`koji container-build` and `koji flatpak-build`: our plugin in the official program, against recorded exchanges."""

from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
from koji_program import run_koji, write_configuration
from replaying_hub import ReplayingHub, Step, recorded

TARGET = "f43-container-candidate"
SOURCE = "git+ssh://pkgs.example.com/containers/caddy-container#0b7e1f5d3c2a49680123456789abcdef01234567"
BRANCH = ["--git-branch", "f43"]

LOGIN: List[Step] = [{"recorded": "014"}, {"recorded": "015"}]
CHECKS: List[Step] = [*LOGIN, {"recorded": "016"}, {"recorded": "017"}]
LOGOUT: Step = {"recorded": "089"}
END: List[Step] = [{"recorded": "097"}, {"recorded": "098"}, {"recorded": "099"}]

CREATED = "Created task: 26\nTask info: https://koji.example.com/koji/taskinfo?taskID=26\n"
WATCHED = (
    "Watching tasks (this may be safely interrupted)...\n"
    "26 buildContainer (noarch): closed\n"
    "\n"
    "26 buildContainer (noarch) completed successfully\n"
)
RESULT = (
    "Task Result (26):\n"
    "repositories:\n"
    "    registry.example.com/mwells/caddy:2.4-1\n"
    "koji_builds:\n"
    "    https://koji.example.com/koji/buildinfo?buildID=37\n"
)


def submit(opts: Optional[Dict[str, Any]] = None, priority: Optional[int] = None, **hints: str) -> Step:
    """The call that makes the task."""
    named = {"priority": priority, "__starstar": True, **hints}
    return {"recorded": "018", "params": [SOURCE, TARGET, opts or {"git_branch": "f43"}, named]}


def run(folder: Path, script: List[Step], arguments: List[str], terminal: bool = False, quiet: bool = False) -> Any:
    """Runs the program against the script, which must be followed to its end."""
    with ReplayingHub(script) as hub:
        before = ["--quiet"] if quiet else []
        ended = run_koji(folder, write_configuration(folder, hub.url), [*before, *arguments], terminal)
    assert hub.problems == [], ended.stderr
    return ended, hub


# What is shown for a build that ends well: options, whether there is a terminal, steps behind the submission, output.
WAITING = {
    "waits where asked to": (["--wait"], False, [LOGOUT, *END], CREATED + WATCHED + RESULT),
    "waits in the foreground of a terminal": ([], True, [LOGOUT, *END], CREATED + WATCHED + RESULT),
    "does not wait without a terminal": ([], False, [LOGOUT], CREATED),
    "does not wait where asked not to": (["--nowait"], True, [LOGOUT], CREATED),
    "is quiet but for the result": (["--wait", "--quiet"], False, [LOGOUT, *END], RESULT),
    "says nothing": (["--quiet"], False, [LOGOUT], ""),
    "has no progress to show": (["--wait", "--noprogress"], False, [LOGOUT, *END], CREATED + WATCHED + RESULT),
}


@pytest.mark.parametrize(("options", "terminal", "then", "shown"), WAITING.values(), ids=WAITING.keys())
def test_what_is_shown(options: List[str], terminal: bool, then: List[Step], shown: str, tmp_path: Path) -> None:
    arguments = ["container-build", *BRANCH, *options, TARGET, SOURCE]
    ended, _ = run(tmp_path, [*CHECKS, submit(), *then], arguments, terminal)
    assert (ended.status, ended.stdout, ended.stderr) == (0, shown, "")


def test_global_quiet_counts(tmp_path: Path) -> None:
    ended, _ = run(tmp_path, [*CHECKS, submit(), LOGOUT], ["container-build", *BRANCH, TARGET, SOURCE], quiet=True)
    assert (ended.status, ended.stdout) == (0, "")


def test_calls_are_those_that_were_recorded(tmp_path: Path) -> None:
    """With the recorded options, every call is the recorded one, and after the logout none has a session."""
    script = [*CHECKS, {"recorded": "018"}, LOGOUT, *END]
    arguments = ["container-build", *BRANCH, "--channel-override", "container-binary", "--wait", TARGET, SOURCE]
    ended, hub = run(tmp_path, script, arguments)
    assert ended.status == 0, ended.stderr
    assert hub.sessions == [False] + [True] * 5 + [False] * 3


def test_watching_goes_on_until_the_end(tmp_path: Path) -> None:
    host: Step = {"method": "getHost", "params": [4], "result": recorded("025")[1]}
    states: List[Step] = [{"recorded": "097", "with": {"state": 0, "host_id": None}}, {"recorded": "098"}]
    states += [{"recorded": "097", "with": {"state": 1}}, host, {"recorded": "098"}]
    # What was there before is shown again, with what is there now.
    states += [{"recorded": "097"}, host, {"recorded": "098"}, {"recorded": "099"}]
    ended, _ = run(
        tmp_path, [*CHECKS, submit(), LOGOUT, *states], ["container-build", *BRANCH, "--wait", TARGET, SOURCE]
    )
    assert ended.stdout == CREATED + (
        "Watching tasks (this may be safely interrupted)...\n"
        "26 buildContainer (noarch): free\n"
        "26 buildContainer (noarch): free -> open (kojibuilder03.example.com)\n"
        "26 buildContainer (noarch): open (kojibuilder03.example.com) -> closed\n"
        "  0 free  0 open  1 done  0 failed\n"
        "\n"
        "26 buildContainer (noarch) completed successfully\n" + RESULT
    )
    assert ended.pauses == ["60", "60"], "the client's own interval, whatever poll_interval says"
    assert ended.status == 0


# How a task can end otherwise: its last state, what is asked then, what is shown.
ENDS = {
    "failed": (
        5,
        [{"recorded": "117", "params": [26]}],
        "26 buildContainer (noarch): FAILED: Fault: <Fault 2001: 'Image build failed. Error in plugin "
        'orchestrate_build: {"x86_64": "docker build failed"}. OSBS build id: caddy-container-f43-1a2b3-2\'>\n'
        "\n26 buildContainer (noarch) failed\n",
    ),
    "cancelled": (3, [], "26 buildContainer (noarch): canceled\n\n26 buildContainer (noarch) was canceled\n"),
}


@pytest.mark.parametrize(("state", "asked", "shown"), ENDS.values(), ids=ENDS.keys())
def test_a_build_that_does_not_end_well_is_told(state: int, asked: List[Step], shown: str, tmp_path: Path) -> None:
    script = [*CHECKS, submit(), LOGOUT, {"recorded": "097", "with": {"state": state}}, *asked, {"recorded": "098"}]
    ended, _ = run(tmp_path, script, ["container-build", *BRANCH, "--wait", TARGET, SOURCE])
    assert ended.stdout == CREATED + "Watching tasks (this may be safely interrupted)...\n" + shown
    assert ended.status == 1


def test_ids_of_builds_become_addresses_and_the_rest_is_indented(tmp_path: Path) -> None:
    result = {"koji_builds": [15], "repositories": ["a:1", "b:1"], "build": "skipped", "more": {"a": {"b": "c"}}}
    script = [*CHECKS, submit(), LOGOUT, {"recorded": "097"}, {"recorded": "098"}]
    script.append({"recorded": "099", "result": result})
    ended, _ = run(tmp_path, script, ["container-build", *BRANCH, "--wait", "--quiet", TARGET, SOURCE])
    assert ended.stdout == (
        "Task Result (26):\nkoji_builds:\n    https://koji.example.com/koji/buildinfo?buildID=15\n"
        "repositories:\n    a:1\n    b:1\nbuild:\n  skipped\nmore:\n  a:\n    b:\n      c\n"
    )


# Options and what becomes of them in the task's options.
OPTIONS: Dict[str, Any] = {
    "scratch": (["--scratch"], {"scratch": True}),
    "isolated": (["--isolated", "--release", "1.1"], {"isolated": True, "release": "1.1"}),
    "arches by comma": (["--scratch", "--arch-override", "x86_64,aarch64"],
                        {"scratch": True, "arch_override": "x86_64 aarch64"}),
    "arches by spaces": (["--isolated", "--arch-override", "x86_64  aarch64"],
                         {"isolated": True, "arch_override": "x86_64 aarch64"}),
    "epoch": (["--epoch", "1"], {"epoch": 1}),
    "repositories": (["--repo-url", "http://a/a.repo", "--repo-url", "http://b/b.repo"],
                     {"yum_repourls": ["http://a/a.repo", "http://b/b.repo"]}),
    "parent": (["--koji-parent-build", "base-1-1"], {"koji_parent_build": "base-1-1"}),
    "signing intent": (["--signing-intent", "release"], {"signing_intent": "release"}),
    "composes": (["--compose-id", "1", "--compose-id", "42"], {"compose_ids": [1, 42]}),
    "dependencies": (["--replace-dependency", "gomod:a:1"], {"dependency_replacements": ["gomod:a:1"]}),
    "own data": (["--userdata", '{"a": [1, null]}'], {"userdata": {"a": [1, None]}}),
    "no build": (["--skip-build"], {"skip_build": True}),
    "operator": (["--operator-csv-modifications-url", "http://a/b"], {"operator_csv_modifications_url": "http://a/b"}),
}  # fmt: skip


@pytest.mark.parametrize(("options", "sent"), OPTIONS.values(), ids=OPTIONS.keys())
def test_options_that_are_given_are_sent(options: List[str], sent: Dict[str, Any], tmp_path: Path) -> None:
    script = [*CHECKS, submit({"git_branch": "f43", **sent}), LOGOUT]
    ended, _ = run(tmp_path, script, ["container-build", *BRANCH, *options, TARGET, SOURCE])
    assert (ended.status, ended.stderr) == (0, "")


def test_background_and_channel(tmp_path: Path) -> None:
    script = [*CHECKS, submit(priority=5, channel="slow"), LOGOUT]
    arguments = ["container-build", *BRANCH, "--background", "--channel-override", "slow", TARGET, SOURCE]
    assert run(tmp_path, script, arguments)[0].status == 0


def test_a_flatpak_says_so(tmp_path: Path) -> None:
    script = [*CHECKS, submit({"git_branch": "f43", "module": "eog:f43", "flatpak": True}), LOGOUT]
    arguments = ["flatpak-build", *BRANCH, "-m", "eog:f43", TARGET, SOURCE]
    assert run(tmp_path, script, arguments)[0].status == 0


# A wrong command line, and what is said. Nothing is asked of the hub.
USAGE: Dict[str, Any] = {
    "no argument": ([], "Exactly two arguments are required"),
    "one argument": ([*BRANCH, TARGET], "Exactly two arguments are required"),
    "three arguments": ([*BRANCH, TARGET, SOURCE, SOURCE], "Exactly two arguments are required"),
    "isolated and scratch": ([*BRANCH, "--isolated", "--scratch", TARGET, SOURCE],
                             "--isolated and --scratch cannot be used together"),
    "arches alone": ([*BRANCH, "--arch-override", "x86_64", TARGET, SOURCE],
                     "--arch-override is only allowed for scratch and isolated builds"),
    "no arch": ([*BRANCH, "--scratch", "--arch-override", "x86;64", TARGET, SOURCE],
                "--arch-override: Architecture can"),
    "intent and compose": ([*BRANCH, "--signing-intent", "a", "--compose-id", "1", TARGET, SOURCE],
                           "--signing-intent and --compose-id cannot be used together"),
    "compose is no number": ([*BRANCH, "--compose-id", "a", TARGET, SOURCE], "invalid integer value: 'a'"),
    "no scheme": ([*BRANCH, TARGET, "caddy.tar#1"], "caddy.tar#1 is no URL of a source"),
    "no commit": ([*BRANCH, TARGET, "git://a/b"], "git://a/b names no commit"),
    "no branch": ([TARGET, SOURCE], "--git-branch is required"),
    "data is no JSON": ([*BRANCH, "--userdata", "{", TARGET, SOURCE], "--userdata is not JSON"),
    "data is no object": ([*BRANCH, "--userdata", "[]", TARGET, SOURCE], "--userdata is not a JSON object"),
    "unknown option": ([*BRANCH, "--no-such", TARGET, SOURCE], "no such option: --no-such"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), USAGE.values(), ids=USAGE.keys())
def test_a_wrong_command_line_ends_with_2(arguments: List[str], said: str, tmp_path: Path) -> None:
    ended, _ = run(tmp_path, [], ["container-build", *arguments])
    assert said in ended.stderr
    assert (ended.status, ended.stdout) == (2, "")


def test_a_flatpak_needs_a_module_and_is_never_isolated(tmp_path: Path) -> None:
    for arguments, said in (([], "--module is required"), (["--isolated"], "no such option: --isolated")):
        ended, _ = run(tmp_path, [], ["flatpak-build", *BRANCH, *arguments, TARGET, SOURCE])
        assert said in ended.stderr
        assert ended.status == 2


# What the hub says of the target, whether the build is a scratch build, and what is said.
TARGETS: Dict[str, Any] = {
    "unknown": ([{"recorded": "138", "params": [TARGET]}], False, "Unknown build target: " + TARGET),
    "no destination": ([{"recorded": "016"}, {"recorded": "017", "result": None}], False,
                       "Unknown destination tag: " + TARGET),
    "locked": ([{"recorded": "016"}, {"recorded": "017", "with": {"locked": True}}], False,
               "Destination tag %s is locked" % TARGET),
    "locked, scratch": ([{"recorded": "016"}, {"recorded": "017", "with": {"locked": True}}], True, None),
}  # fmt: skip


@pytest.mark.parametrize(("answers", "scratch", "said"), TARGETS.values(), ids=TARGETS.keys())
def test_a_target_that_cannot_be_tagged_for(
    answers: List[Step], scratch: bool, said: Optional[str], tmp_path: Path
) -> None:
    submitted = [submit({"git_branch": "f43", "scratch": True}), LOGOUT]
    script = [*LOGIN, *answers, *(submitted if said is None else [LOGOUT])]
    arguments = ["container-build", *BRANCH, *(["--scratch"] if scratch else []), TARGET, SOURCE]
    ended, _ = run(tmp_path, script, arguments)
    assert ended.status == (0 if said is None else 2)
    assert said is None or said in ended.stderr


def test_what_the_hub_refuses_is_told(tmp_path: Path) -> None:
    refused = {**submit(), "fault": [1004, "only admins may create high-priority tasks"]}
    ended, _ = run(tmp_path, [*CHECKS, refused, LOGOUT], ["container-build", *BRANCH, TARGET, SOURCE])
    assert "ActionNotAllowed: only admins may create high-priority tasks" in ended.stderr
    assert ended.status == 1


def test_the_commands_are_listed(tmp_path: Path) -> None:
    ended = run_koji(tmp_path, write_configuration(tmp_path, "http://127.0.0.1:9/"), ["help", "build"])
    assert "container-build           Build a container image\n" in ended.stdout
    assert "flatpak-build             Build a flatpak as a container image\n" in ended.stdout
