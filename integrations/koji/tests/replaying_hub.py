"""A hub that answers with what a real one once answered, and takes no call but the next one of a script.

The real one's exchanges lie in `crates/osbs-koji/tests/recorded`. Not a hub: it keeps nothing and decides nothing.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, List, Tuple

from koji import xmlrpcplus

PROJECT = Path(__file__).resolve().parents[3]
RECORDED = PROJECT / "crates/osbs-koji/tests/recorded"

# One step of a script, with these keys:
#   recorded  number of the exchange whose method, arguments and answer are meant, as far as the others do not say else
#   method, params  the call that must come
#   result    what is answered; with  members that are changed in it
#   fault     [code, text], answered instead
Step = Dict[str, Any]
Call = Tuple[str, List[Any]]


def recorded(number: str) -> Tuple[Call, Any]:
    """The call and the answer of an exchange; a fault is a `Fault`."""
    request = next(RECORDED.glob("%s-*.request.xml" % number)).read_text()
    response = next(RECORDED.glob("%s-*.response.xml" % number)).read_text()
    params, method = xmlrpcplus.loads(request)
    try:
        answer = xmlrpcplus.loads(response)[0][0]
    except xmlrpcplus.Fault as fault:
        answer = fault
    return (method, list(params)), answer


def played(step: Step) -> Tuple[Call, str]:
    """The call that a step waits for, and the answer's body."""
    call: Call = ("", [])
    answer: Any = None
    if "recorded" in step:
        call, answer = recorded(step["recorded"])
    call = (step.get("method", call[0]), step.get("params", call[1]))
    answer = step.get("result", answer)
    if "with" in step:
        answer = dict(answer, **step["with"])
    if "fault" in step:
        answer = xmlrpcplus.Fault(*step["fault"])
    if isinstance(answer, xmlrpcplus.Fault):
        return call, xmlrpcplus.dumps(answer)
    return call, xmlrpcplus.dumps((answer,), methodresponse=1, allow_none=1)


class ReplayingHub:
    """Serves on a port of its own until the `with` block ends; `problems` tells which calls were not those expected."""

    def __init__(self, script: List[Step]) -> None:
        self._script = [played(step) for step in script]
        self._lock = threading.Lock()
        self._next = 0
        self.problems: List[str] = []
        self.sessions: List[bool] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = hub.answer(body, "Koji-Session-Id" in self.headers).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Koji-Version", "1.35.3")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return "http://127.0.0.1:%d/kojihub" % self._server.server_address[1]

    def answer(self, body: bytes, in_session: bool) -> str:
        """Answers one call, and remembers what is wrong with it."""
        params, method = xmlrpcplus.loads(body)
        call = (method, list(params))
        with self._lock:
            self.sessions.append(in_session)
            expected, answer = self._script[self._next] if self._next < len(self._script) else (None, "")
            self._next += 1
        if call == expected:
            return answer
        self.problems.append("call %d is %s, expected %s" % (self._next, json.dumps(call), json.dumps(expected)))
        return str(xmlrpcplus.dumps(xmlrpcplus.Fault(1000, "not in the script: %s" % method)))

    def __enter__(self) -> "ReplayingHub":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        left = [call for call, _ in self._script[self._next :]]
        if left:
            self.problems.append("calls that did not come: %s" % json.dumps(left))
