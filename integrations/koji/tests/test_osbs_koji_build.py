"""`osbs koji-build` is `koji container-build` without Python: the same calls, output and exit codes.

Held to the same tables. OSBS names the program.
"""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest
import test_container_build as stock
from koji_program import DEADLINE, WEBURL, Ended, run_koji
from replaying_hub import ReplayingHub, Step, recorded
from test_container_build import BRANCH, CHECKS, CREATED, END, LOGIN, LOGOUT, RESULT, SOURCE, TARGET, submit

OSBS = os.environ.get("OSBS", "osbs")


def run_osbs(folder: Path, server: str, arguments: List[str], terminal: bool = False) -> Ended:
    """Runs the command with a home folder that has nothing but Koji's configuration."""
    conf = folder / ".koji/config"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(
        "[koji]\nserver = %s\nweburl = %s\nauthtype = password\nuser = mwells\npassword = PASSWORD\npoll_interval = 1\n"
        % (server, WEBURL)
    )
    command = [OSBS, "koji-build", *arguments]
    if terminal:
        return run_koji(folder, conf, arguments, terminal=True, command=command)
    ended = subprocess.run(
        command,
        env={"HOME": str(folder), "PATH": os.environ["PATH"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr, [])


def run(folder: Path, script: List[Step], arguments: List[str], terminal: bool = False, logs: bool = False) -> Ended:
    """Runs the command against a script, which must be followed to its end."""
    with ReplayingHub(script) as hub:
        options = [] if logs else ["--no-logs"]
        ended = run_osbs(folder, hub.url, [*options, *arguments], terminal)
    assert hub.problems == [], ended.stderr
    return ended


@pytest.mark.parametrize(("options", "terminal", "then", "shown"), stock.WAITING.values(), ids=stock.WAITING.keys())
def test_what_is_shown(options: List[str], terminal: bool, then: List[Step], shown: str, tmp_path: Path) -> None:
    ended = run(tmp_path, [*CHECKS, submit(), LOGOUT, *then[1:]], [*BRANCH, *options, TARGET, SOURCE], terminal)
    assert (ended.status, ended.stdout, ended.stderr) == (0, shown, "")


def test_calls_are_those_that_were_recorded(tmp_path: Path) -> None:
    script = [*CHECKS, {"recorded": "018"}, LOGOUT, *END]
    arguments = [*BRANCH, "--channel-override", "container-binary", "--wait", TARGET, SOURCE]
    assert run(tmp_path, script, arguments).status == 0


@pytest.mark.parametrize(("options", "sent"), stock.OPTIONS.values(), ids=stock.OPTIONS.keys())
def test_options_that_are_given_are_sent(options: List[str], sent: Dict[str, Any], tmp_path: Path) -> None:
    script = [*CHECKS, submit({"git_branch": "f43", **sent}), LOGOUT]
    assert run(tmp_path, script, [*BRANCH, *options, TARGET, SOURCE]).status == 0


def test_background_channel_and_flatpak(tmp_path: Path) -> None:
    opts = {"git_branch": "f43", "module": "eog:f43", "flatpak": True}
    script = [*CHECKS, submit(opts, priority=5, channel="slow"), LOGOUT]
    arguments = ["--background", "--channel-override", "slow", "--flatpak", "-m", "eog:f43"]
    assert run(tmp_path, script, [*BRANCH, *arguments, TARGET, SOURCE]).status == 0


@pytest.mark.parametrize("arguments", [case[0] for case in stock.USAGE.values()], ids=stock.USAGE.keys())
def test_a_wrong_command_line_ends_with_2(arguments: List[str], tmp_path: Path) -> None:
    ended = run(tmp_path, [], arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert "error" in ended.stderr


@pytest.mark.parametrize(("answers", "scratch", "said"), stock.TARGETS.values(), ids=stock.TARGETS.keys())
def test_a_target_that_cannot_be_tagged_for(
    answers: List[Step], scratch: bool, said: Optional[str], tmp_path: Path
) -> None:
    submitted = [submit({"git_branch": "f43", "scratch": True})] if said is None else []
    options = ["--scratch"] if scratch else []
    ended = run(tmp_path, [*LOGIN, *answers, *submitted, LOGOUT], [*BRANCH, *options, TARGET, SOURCE])
    assert ended.status == (0 if said is None else 2)
    assert said is None or said in ended.stderr


def test_watching_goes_on_until_the_end(tmp_path: Path) -> None:
    host: Step = {"method": "getHost", "params": [4], "result": recorded("025")[1]}
    states: List[Step] = [{"recorded": "097", "with": {"state": 0, "host_id": None}}, {"recorded": "098"}]
    states += [{"recorded": "097", "with": {"state": 1}}, host, {"recorded": "098"}]
    states += [{"recorded": "097"}, host, {"recorded": "098"}, {"recorded": "099"}]
    ended = run(tmp_path, [*CHECKS, submit(), LOGOUT, *states], [*BRANCH, "--wait", TARGET, SOURCE])
    assert ended.stdout == CREATED + (
        "Watching tasks (this may be safely interrupted)...\n"
        "26 buildContainer (noarch): free\n"
        "26 buildContainer (noarch): free -> open (kojibuilder03.example.com)\n"
        "26 buildContainer (noarch): open (kojibuilder03.example.com) -> closed\n"
        "  0 free  0 open  1 done  0 failed\n"
        "\n"
        "26 buildContainer (noarch) completed successfully\n" + RESULT
    )
    assert ended.status == 0


# As for the stock program, which knows no name for a container's fault.
ENDS: Dict[str, Any] = {
    "failed": (
        5,
        [{"recorded": "117", "params": [26]}],
        "FAILED: ContainerError: Image build failed. Error in plugin orchestrate_build: "
        '{"x86_64": "docker build failed"}. OSBS build id: caddy-container-f43-1a2b3-2\n'
        "\n26 buildContainer (noarch) failed\n",
    ),
    "cancelled": (3, [], "canceled\n\n26 buildContainer (noarch) was canceled\n"),
}


@pytest.mark.parametrize(("state", "asked", "shown"), ENDS.values(), ids=ENDS.keys())
def test_a_build_that_does_not_end_well_is_told(state: int, asked: List[Step], shown: str, tmp_path: Path) -> None:
    script = [*CHECKS, submit(), LOGOUT, {"recorded": "097", "with": {"state": state}}, *asked, {"recorded": "098"}]
    ended = run(tmp_path, script, [*BRANCH, "--wait", TARGET, SOURCE])
    heading = "Watching tasks (this may be safely interrupted)...\n26 buildContainer (noarch): "
    assert ended.stdout == CREATED + heading + shown
    assert ended.status == 1


def test_programs_get_json(tmp_path: Path) -> None:
    ended = run(tmp_path, [*CHECKS, submit(), LOGOUT, *END], [*BRANCH, "--wait", "--output", "json", TARGET, SOURCE])
    assert json.loads(ended.stdout) == {
        "task_id": 26,
        "task_url": WEBURL + "/taskinfo?taskID=26",
        "state": "CLOSED",
        "failure": None,
        "result": {
            "koji_builds": [WEBURL + "/buildinfo?buildID=37"],
            "repositories": ["registry.example.com/mwells/caddy:2.4-1"],
        },
    }


def part(name: str, offset: int, text: str) -> Step:
    """An answer with a part of a log."""
    named = {"offset": offset, "size": 65536, "volume": "DEFAULT", "__starstar": True}
    data = base64.b64encode(text.encode()).decode()
    return {"method": "downloadTaskOutput", "params": [26, name, named], "result": data}


def files(*names: str) -> Step:
    """An answer that lists files."""
    return {"recorded": "094", "result": {name: ["DEFAULT"] for name in names}}


def test_the_log_is_followed_with_its_platform(tmp_path: Path) -> None:
    orchestrator, arm = "orchestrator.log", "aarch64.log"
    first: List[Step] = [{"recorded": "097", "with": {"state": 0, "host_id": None}}, {"recorded": "098"}]
    first += [
        files("openshift-incremental.log", orchestrator),
        part(orchestrator, 0, "one\ntw"),
        part(orchestrator, 6, ""),
    ]
    last: List[Step] = [{"recorded": "097", "with": {"host_id": None}}, {"recorded": "098"}]
    last += [files(arm, "openshift-incremental.log", orchestrator), part(arm, 0, "STEP 1"), part(arm, 6, "")]
    last += [part(orchestrator, 6, "o\n\x1b[2J\n"), part(orchestrator, 13, ""), {"recorded": "099"}]
    script = [*CHECKS, submit(), LOGOUT, *first, *last]
    ended = run(tmp_path, script, [*BRANCH, "--wait", TARGET, SOURCE], logs=True)
    assert ended.stderr == (
        "orchestrator | one\n     aarch64 | STEP 1\norchestrator | two\norchestrator | \\x1b[2J\n"
    ), "standard output is the stock program's"
    assert ended.stdout.endswith(RESULT)


def test_a_hub_that_does_not_let_us_in_is_told(tmp_path: Path) -> None:
    refused: Step = {"recorded": "014", "fault": [1002, "invalid username or password"]}
    ended = run(tmp_path, [refused], [*BRANCH, TARGET, SOURCE])
    assert "does not let mwells log in" in ended.stderr
    assert "PASSWORD" not in ended.stderr
    assert ended.status == 3


def test_without_a_configuration_it_says_what_to_write(tmp_path: Path) -> None:
    command = [OSBS, "koji-build", *BRANCH, TARGET, SOURCE]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert "~/.koji/config" in ended.stderr
    assert ended.returncode == 3
