"""A hub's web server: over TLS it lets in who shows a Kerberos ticket, and answers as a hub would.

The first call of the first session is refused as too old, so that it is renewed. With the URL of a hub and a password it lets
its visitors on to that hub, where each is the user that their principal begins with. Must not be used but by tests.
"""
import base64, gssapi, ssl, sys, urllib.parse, urllib.request, xmlrpc.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

logins = []
hub, password = (sys.argv[1:] + [None, None])[:2]


class Gate(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, text=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if hub and self.path != "/kojihub/ssllogin":
            return self.pass_on(body)
        arguments, method = xmlrpc.client.loads(body)
        if method == "sslLogin":
            return self.log_in(arguments)
        user, key = logins[-1]
        if self.headers["koji-session-key"] != key or len(logins) < 2:
            answer = xmlrpc.client.Fault(1007, "session too old")
        else:
            answer = ({"id": 1, "name": user},)
        self.reply(200, xmlrpc.client.dumps(answer, methodresponse=True, allow_none=True).encode())

    def pass_on(self, body=None):
        request = urllib.request.Request(hub.replace("/kojihub", self.path, 1), body)
        for name, value in self.headers.items():
            if name.lower().startswith("koji-session") or name.lower() == "content-type":
                request.add_header(name, value)
        self.reply(200, urllib.request.urlopen(request).read())

    def do_GET(self):
        self.pass_on()

    def log_in(self, arguments):
        ticket = self.headers.get("authorization", "")
        if self.path != "/kojihub/ssllogin" or not ticket.startswith("Negotiate "):
            return self.reply(401, WWW_Authenticate="Negotiate")
        context = gssapi.SecurityContext(creds=gssapi.Credentials(usage="accept"), usage="accept")
        context.step(base64.b64decode(ticket[10:]))
        if hub:
            user = str(context.initiator_name).split("@")[0]
            text = xmlrpc.client.dumps((user, urllib.parse.unquote_plus(password)), "login").encode()
            return self.reply(200, urllib.request.urlopen(hub, text).read())
        renewed = bool(arguments and arguments[-1].get("renew"))
        if renewed != (self.headers["koji-session-key"] is not None):
            return self.reply(500)
        logins.append((str(context.initiator_name), f"1-key{len(logins)}"))
        session = {"session-id": 7, "session-key": logins[-1][1], "header-auth": True}
        self.reply(200, xmlrpc.client.dumps((session,), methodresponse=True, allow_none=True).encode())


server = ThreadingHTTPServer(("127.0.0.1", 0), Gate)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("hub.pem", "hub.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
