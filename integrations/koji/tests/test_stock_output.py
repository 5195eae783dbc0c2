"""What the official `koji` prints, given what the recorded hub answers: `stock/NAME.txt` for `stock/commands.json`.

A hub of ours is right when the same commands print the same against it. STOCK_WRITE=1 writes the files.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, Dict

import pytest
from koji_program import run_koji, write_configuration
from replaying_hub import ReplayingHub

STOCK = Path(__file__).resolve().parent / "stock"
COMMANDS = json.loads((STOCK / "commands.json").read_text())


@pytest.mark.parametrize("command", COMMANDS, ids=[command["name"] for command in COMMANDS])
def test_stock_output(command: Dict[str, Any], tmp_path: Path) -> None:
    with ReplayingHub(command["script"]) as hub:
        ended = run_koji(tmp_path, write_configuration(tmp_path, hub.url), command["arguments"])
    assert hub.problems == [], ended.stderr
    shown = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", ended.stdout)
    if command["name"] == "hello":
        # One of many greetings.
        shown = re.sub(r"^.*, mwells!", "GREETING, mwells!", shown)
    file = STOCK / (command["name"] + ".txt")
    if os.environ.get("STOCK_WRITE"):
        file.write_text(shown)
    assert shown == file.read_text()
    assert ended.status == command["status"], ended.stderr
