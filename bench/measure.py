"""Runs one command and writes to a file descriptor: seconds, largest resident memory of it and its children (MB), and
processor seconds. Small on purpose: the kernel counts the memory of who starts a process as the process's own.

usage: measure.py FD COMMAND...
"""

import os
import sys
import time

started = time.monotonic()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, int(sys.argv[1]))])
_, status, usage = os.wait4(child, 0)
took = time.monotonic() - started
os.write(int(sys.argv[1]), f"{took} {usage.ru_maxrss / 1024} {usage.ru_utime + usage.ru_stime}".encode())
code = os.waitstatus_to_exitcode(status)
sys.exit(code if code >= 0 else 128 - code)
