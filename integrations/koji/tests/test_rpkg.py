"""`fedpkg container-build`: rpkg, which fedpkg is made of, needs nothing of ours but the hub's `buildContainer`.

Runs `rpkg/sitepkg` with its configuration in a clone of a dist-git repository, as a packager would.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import pytest
from koji_program import DEADLINE, START, WEBURL
from replaying_hub import ReplayingHub, Step, recorded

SITEPKG = Path(__file__).resolve().parents[1] / "rpkg/sitepkg"
TARGET = "f43-container-candidate"

LOGIN: List[Step] = [{"recorded": "014"}]
CHECKS: List[Step] = [{"recorded": "016"}, {"recorded": "017"}]
# At its end it goes back to the profile of its other commands.
CHANGE: List[Step] = [{"recorded": "089"}, *LOGIN]

# What rpkg sends where nothing was asked for: it names every option that it has.
NOTHING: Dict[str, Any] = {
    "scratch": False,
    "release": None,
    "isolated": False,
    "koji_parent_build": None,
    "yum_repourls": None,
    "git_branch": "f43",
    "signing_intent": None,
    "compose_ids": None,
    "skip_build": False,
    "dependency_replacements": None,
}


class Clone(NamedTuple):
    """A clone of a dist-git repository on its branch."""

    folder: Path
    commit: str
    home: Path

    def run(self, hub: ReplayingHub, arguments: List[str]) -> "subprocess.CompletedProcess[str]":
        """Runs `sitepkg` in it."""
        conf = self.home / ".koji/config"
        conf.parent.mkdir(exist_ok=True)
        conf.write_text("[koji]\nserver = %s\nweburl = %s\nauthtype = password\n" % (hub.url, WEBURL))
        command = [sys.executable, "-c", START, str(self.home / "pauses"), str(SITEPKG)]
        command += ["--user", "mwells", "--password", "PASSWORD", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=_environment(self.home), capture_output=True, text=True, timeout=DEADLINE
        )


def _environment(home: Path) -> Dict[str, str]:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    for who in ("AUTHOR", "COMMITTER"):
        environment.update({"GIT_%s_NAME" % who: "M Wells", "GIT_%s_EMAIL" % who: "mwells@example.com"})
    return environment


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    origin = tmp_path / "pkgs/container/caddy-container"
    folder = tmp_path / "caddy-container"

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], check=True, env=_environment(tmp_path), capture_output=True, text=True, timeout=60
        ).stdout.strip()

    git("init", "-q", "--bare", "-b", "f43", str(origin))
    git("clone", "-q", str(origin), str(folder))
    git("-C", str(folder), "checkout", "-q", "-b", "f43")
    (folder / "Dockerfile").write_text("FROM fedora:43\nLABEL com.redhat.component=caddy-container version=2.4\n")
    git("-C", str(folder), "add", "Dockerfile")
    git("-C", str(folder), "commit", "-q", "-m", "Caddy")
    git("-C", str(folder), "push", "-q", "-u", "origin", "f43")
    return Clone(folder, git("-C", str(folder), "rev-parse", "HEAD"), tmp_path)


def submit(clone: Clone, opts: Dict[str, Any], priority: Any = None) -> Step:
    source = "git+https://pkgs.example.com/container/caddy-container#" + clone.commit
    return {"recorded": "018", "params": [source, TARGET, opts, {"priority": priority, "__starstar": True}]}


# Options, what they change of the task's options, and its priority.
OPTIONS: Dict[str, Any] = {
    "none": ([], {}, None),
    "scratch": (["--scratch"], {"scratch": True}, None),
    "one arch": (["--scratch", "--arches", "x86_64", "aarch64"],
                 {"scratch": True, "arch_override": "x86_64 aarch64"}, None),
    "isolated": (["--isolated", "--build-release", "1.1"], {"isolated": True, "release": "1.1"}, None),
    "repositories": (["--repo-url", "http://a/a.repo", "http://b/b.repo"],
                     {"yum_repourls": ["http://a/a.repo", "http://b/b.repo"]}, None),
    "parent": (["--koji-parent-build", "base-1-1"], {"koji_parent_build": "base-1-1"}, None),
    "composes": (["--compose-id", "1", "42"], {"compose_ids": [1, 42]}, None),
    "signing intent": (["--signing-intent", "release"], {"signing_intent": "release"}, None),
    "background": (["--background"], {}, 5),
}  # fmt: skip


@pytest.mark.parametrize(("options", "sent", "priority"), OPTIONS.values(), ids=OPTIONS.keys())
def test_options_reach_the_hub(options: List[str], sent: Dict[str, Any], priority: Any, clone: Clone) -> None:
    with ReplayingHub([*LOGIN, *CHECKS, submit(clone, {**NOTHING, **sent}, priority), *CHANGE]) as hub:
        ended = clone.run(hub, ["container-build", "--nowait", *options])
    assert hub.problems == []
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "Created task: 26\nTask info: https://koji.example.com/koji/taskinfo?taskID=26\n"
    assert hub.problems == []


def test_the_end_is_waited_for_and_told(clone: Clone) -> None:
    build: Step = {"recorded": "100", "params": [37]}
    script = [*LOGIN, *CHECKS, submit(clone, NOTHING), {"recorded": "097"}, {"recorded": "098"}, {"recorded": "099"}]
    with ReplayingHub([*script, build, *CHANGE]) as hub:
        ended = clone.run(hub, ["container-build"])
    assert "26 buildContainer (noarch) completed successfully\n" in ended.stdout
    assert "registry.example.com/mwells/caddy:2.4-1" in ended.stdout
    assert recorded("100")[1]["nvr"] in ended.stdout
    assert "https://koji.example.com/koji/buildinfo?buildID=37" in ended.stdout
    assert ended.returncode == 0
    assert hub.problems == []
