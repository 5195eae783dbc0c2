"""Runs the official `koji` program with our plugin, as a user would, with an empty home folder.

Its watchers' pauses are skipped, and their lengths told: the program is started through a line that replaces
`time.sleep` before it begins.
"""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from typing import List, NamedTuple, Optional

HERE = Path(__file__).resolve().parent
KOJI = Path(sys.executable).with_name("koji")
WEBURL = "https://koji.example.com/koji"
DEADLINE = 120

START = """
import runpy, sys, time
pauses = open(sys.argv[1], "a", buffering=1)
time.sleep = lambda seconds: print(seconds, file=pauses)
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Ended(NamedTuple):
    """How a run ended."""

    status: int
    stdout: str
    stderr: str
    # Lengths of its pauses, in seconds.
    pauses: List[str]


def write_configuration(folder: Path, server: str, extra: str = "") -> Path:
    """A configuration of the program with our plugin in it."""
    conf = folder / "koji.conf"
    conf.write_text(
        "[koji]\nserver = %s\nweburl = %s\nplugin_paths = %s\nauthtype = password\n%s"
        % (server, WEBURL, HERE.parent / "cli", extra)
    )
    return conf


def run_koji(
    folder: Path, conf: Path, arguments: List[str], terminal: bool = False, command: Optional[List[str]] = None
) -> Ended:
    """Runs it, or another command. With `terminal`, its standard input is one, and it is in its foreground."""
    pauses = folder / "pauses"
    # The program takes name and password from its command line only.
    login = ["--user", "mwells", "--password", "PASSWORD"]
    command = command or [sys.executable, "-c", START, str(pauses), str(KOJI), "-c", str(conf), *login, *arguments]
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "COLUMNS": "120"}
    if not terminal:
        ended = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr, _lines(pauses))
    out, err = folder / "stdout", folder / "stderr"
    child, master = pty.fork()
    if child == 0:
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.execve(command[0], command, environment)
    watchdog = threading.Timer(DEADLINE, os.kill, (child, 9))
    watchdog.start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    watchdog.cancel()
    os.close(master)
    return Ended(status, out.read_text(), err.read_text(), _lines(pauses))


def _lines(path: Path) -> List[str]:
    return path.read_text().splitlines() if path.exists() else []
