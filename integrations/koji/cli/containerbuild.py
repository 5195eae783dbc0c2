"""Commands of the `koji` program that build container images: `container-build` and `flatpak-build`.

The program loads this file from a folder of its configuration's `plugin_paths` (docs/koji.md). It checks what can be
checked before anything is asked for, asks the hub for a `buildContainer` task, and may watch it. What the options mean
is the builder's matter; this file must not know it.
"""

import json
from optparse import OptionParser, Values
from typing import Any, Dict, List, Optional

import koji
from koji.plugin import export_cli
from koji_cli.lib import _running_in_bg, activate_session, get_usage_str, watch_tasks

__all__ = ("handle_container_build", "handle_flatpak_build")

# `--background`: as much later than other tasks, on Koji's scale.
BACKGROUND_PRIORITY = 5

# Options that become options of the task as they are; one that was not given is not sent at all.
TASK_OPTIONS = (
    "scratch",
    "isolated",
    "epoch",
    "yum_repourls",
    "git_branch",
    "release",
    "koji_parent_build",
    "module",
    "signing_intent",
    "compose_ids",
    "dependency_replacements",
    "skip_build",
    "operator_csv_modifications_url",
)


@export_cli
def handle_container_build(options: Values, session: Any, args: List[str]) -> Optional[int]:
    "[build] Build a container image"
    parser = _parser("container-build")
    parser.add_option("--isolated", action="store_true", help="Build a patch release that moves no floating tags")
    parser.add_option(
        "--epoch", type="int", metavar="N", help="Epoch of the build; the builder must be an administrator"
    )
    parser.add_option(
        "--replace-dependency",
        action="append",
        dest="dependency_replacements",
        metavar="MANAGER:NAME:VERSION[:NEW_NAME]",
        help="Take another version of a dependency (repeatable; needs a builder of 2020 or later)",
    )
    parser.add_option(
        "--userdata",
        metavar="JSON",
        help="Data of your own for the build's record, a JSON object (needs a builder of 2020 or later)",
    )
    parser.add_option(
        "--skip-build",
        action="store_true",
        help="Only change how automatic rebuilds are set up (needs a builder of 2020)",
    )
    parser.add_option(
        "--operator-csv-modifications-url",
        metavar="URL",
        help="File of changes to an operator's manifest (needs a builder of 2020 or later)",
    )
    return _build(options, session, parser, args, flatpak=False)


@export_cli
def handle_flatpak_build(options: Values, session: Any, args: List[str]) -> Optional[int]:
    "[build] Build a flatpak as a container image"
    parser = _parser("flatpak-build")
    parser.add_option(
        "-m", "--module", metavar="NAME:STREAM[:VERSION]", help="Module to build the flatpak of (required)"
    )
    return _build(options, session, parser, args, flatpak=True)


def _parser(command: str) -> OptionParser:
    """The options that both commands have."""
    usage = (
        "usage: %prog " + command + " [options] TARGET SCM_URL#COMMIT\n\n"
        "  %prog " + command + " --git-branch f40 f40-container-candidate \\\n"
        "      git+https://src.example.com/containers/rsyslog#0b7e1f5d3c2a49680123456789abcdef01234567"
    )
    parser = OptionParser(usage=get_usage_str(usage))
    parser.add_option("--scratch", action="store_true", help="Build an image that is thrown away: nothing is imported")
    parser.add_option("--git-branch", metavar="NAME", help="Branch that the commit is on (required)")
    parser.add_option("--release", metavar="TEXT", help="Release, instead of the next free one")
    parser.add_option(
        "--arch-override",
        metavar="ARCHES",
        help="Only these arches of the target's (scratch and isolated builds; separated by commas or spaces)",
    )
    parser.add_option("--koji-parent-build", metavar="NVR", help="Build to take the parent image from")
    parser.add_option(
        "--repo-url",
        action="append",
        dest="yum_repourls",
        metavar="URL",
        help="File with package repositories for the build (repeatable)",
    )
    parser.add_option("--signing-intent", metavar="NAME", help="Signing intent of the composes")
    parser.add_option(
        "--compose-id",
        action="append",
        type="int",
        dest="compose_ids",
        metavar="N",
        help="Compose to take packages from (repeatable; not together with --signing-intent)",
    )
    parser.add_option("--channel-override", metavar="NAME", help="Channel of the task, instead of the hub's choice")
    parser.add_option("--background", action="store_true", help="Let other tasks go first")
    parser.add_option("--wait", action="store_true", help="Wait for the end, even without a terminal")
    parser.add_option("--nowait", action="store_false", dest="wait", help="Do not wait for the end")
    parser.add_option("--quiet", action="store_true", default=None, help="Show nothing but a result")
    parser.add_option("--noprogress", action="store_true", help="Show no progress (there is none to show)")
    return parser


def _build(options: Values, session: Any, parser: OptionParser, args: List[str], flatpak: bool) -> Optional[int]:
    """Checks the command line, creates the task and, if wanted, watches it; the exit status, None for 0."""
    given, positional = parser.parse_args(args)
    if len(positional) != 2:
        parser.error("Exactly two arguments are required: a build target and the URL of a source with its commit")
    target, source = positional
    _check_options(parser, given, flatpak)
    _check_source(parser, source)
    task_options = _task_options(parser, given, flatpak)
    quiet = options.quiet if given.quiet is None else given.quiet

    activate_session(session, options)
    _check_target(parser, session, target, scratch=bool(given.scratch))
    hints = {"priority": BACKGROUND_PRIORITY if given.background else None}
    if given.channel_override:
        hints["channel"] = given.channel_override
    task_id = session.buildContainer(source, target, task_options, **hints)
    if not quiet:
        print("Created task: %s" % task_id)
        print("Task info: %s/taskinfo?taskID=%s" % (options.weburl, task_id))

    wait = not _running_in_bg() if given.wait is None else given.wait
    if not wait:
        return None
    session.logout()
    status: int = watch_tasks(session, [task_id], quiet=quiet)
    if status == 0:
        result = session.getTaskResult(task_id)
        print("\n".join(["Task Result (%s):" % task_id] + _result_lines(_with_links(result, options.weburl))))
    return status


def _check_options(parser: OptionParser, given: Values, flatpak: bool) -> None:
    """Ends with a usage error if options do not go together, or one is missing."""
    isolated = getattr(given, "isolated", None)
    if isolated and given.scratch:
        parser.error("--isolated and --scratch cannot be used together")
    if given.arch_override and not (given.scratch or isolated):
        parser.error("--arch-override is only allowed for scratch and isolated builds")
    if given.signing_intent and given.compose_ids:
        parser.error("--signing-intent and --compose-id cannot be used together")
    if not given.git_branch:
        parser.error("--git-branch is required")
    if flatpak and not given.module:
        parser.error("--module is required")


def _check_source(parser: OptionParser, source: str) -> None:
    """Ends with a usage error unless the source is a URL that names a commit."""
    if "://" not in source:
        parser.error("%s is no URL of a source: it has no ://" % source)
    if "#" not in source:
        parser.error("%s names no commit: write URL#COMMIT" % source)


def _check_target(parser: OptionParser, session: Any, target: str, scratch: bool) -> None:
    """Ends with a usage error unless a build for the target could be tagged."""
    found = session.getBuildTarget(target)
    if not found:
        parser.error("Unknown build target: %s" % target)
    tag = session.getTag(found["dest_tag"])
    if not tag:
        parser.error("Unknown destination tag: %s" % found["dest_tag_name"])
    if tag["locked"] and not scratch:
        parser.error("Destination tag %s is locked" % tag["name"])


def _task_options(parser: OptionParser, given: Values, flatpak: bool) -> Dict[str, Any]:
    """The options of the task: those that were given, and nothing else."""
    sent = {}
    for name in TASK_OPTIONS:
        value = getattr(given, name, None)
        if value is not None:
            sent[name] = value
    if given.arch_override:
        try:
            sent["arch_override"] = koji.parse_arches(given.arch_override)
        except koji.GenericError as error:
            parser.error("--arch-override: %s" % error)
    if flatpak:
        sent["flatpak"] = True
    userdata = getattr(given, "userdata", None)
    if userdata is not None:
        try:
            sent["userdata"] = json.loads(userdata)
        except ValueError as error:
            parser.error("--userdata is not JSON: %s" % error)
        if not isinstance(sent["userdata"], dict):
            parser.error("--userdata is not a JSON object")
    return sent


def _with_links(result: Any, weburl: str) -> Any:
    """The task's result with addresses in place of the ids of builds."""
    if not isinstance(result, dict) or "koji_builds" not in result:
        return result
    links = ["%s/buildinfo?buildID=%s" % (weburl, build) for build in result["koji_builds"]]
    return dict(result, koji_builds=links)


def _result_lines(value: Any, depth: int = 0) -> List[str]:
    """A result as lines: a level of a map or list is two spaces."""
    lines = []
    if isinstance(value, dict):
        for key, inner in value.items():
            lines.append("%s%s:" % ("  " * depth, key))
            lines.extend(_result_lines(inner, depth + 1))
    elif isinstance(value, list):
        for item in value:
            lines.extend(_result_lines(item, depth + 1))
    else:
        lines.append("%s%s" % ("  " * depth, value))
    return lines
