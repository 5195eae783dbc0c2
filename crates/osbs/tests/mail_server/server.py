"""A real SMTP server (aiosmtpd) on a loopback port the kernel chose.

Prints the port, keeps every mail it took as N.json in the folder: the envelope, whether TLS and a login protected it, and
the message as Python's own email module understands it. Ends when its standard input does.
usage: server.py FOLDER none|starttls|implicit [CERTIFICATE KEY USER PASSWORD]
"""

import asyncio
import email
import email.policy
import json
import os
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

warnings.simplefilter("ignore")
folder, mode = sys.argv[1:3]
certificate, key, user, password = (sys.argv[3:] + [None] * 4)[:4]


def text_of(part):
    return part.get_content() if part else None


class Handler:
    count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused"):
            return "550 5.1.1 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = message.get_body(("plain",))
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or mode == "implicit",
            "login": session.authenticated,
            "headers": [[name, str(value)] for name, value in message.items()],
            "defects": [str(defect) for part in message.walk() for defect in part.defects],
            "addresses": [address.addr_spec for address in message["to"].addresses],
            "subject": message["subject"],
            "body": text_of(body),
            "files": {
                part.get_filename(): [part.get_content_type(), part["content-transfer-encoding"], part.get_content().decode()]
                for part in message.iter_attachments()
            },
            "raw": envelope.content.decode("latin-1"),
        }
        Handler.count += 1
        name = os.path.join(folder, f"{Handler.count}.json")
        with open(name + ".new", "w") as file:
            json.dump(told, file)
        os.rename(name + ".new", name)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login.decode(), data.password.decode()) == (user, password)
    # What a careless server does: it says back what it was given.
    said = data.password.decode() if isinstance(data, LoginPassword) else ""
    return AuthResult(success=good) if good else AuthResult(success=False, handled=False, message=f"535 not {said}")


async def main():
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    options = {"hostname": "mail.example.org", "enable_SMTPUTF8": False}
    if user:
        options |= {"auth_required": True, "authenticator": authenticate, "auth_require_tls": mode == "starttls"}
    if mode == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    loop = asyncio.get_running_loop()
    implicit = context if mode == "implicit" else None
    server = await loop.create_server(lambda: SMTP(Handler(), loop=loop, **options), "127.0.0.1", 0, ssl=implicit)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(main())
