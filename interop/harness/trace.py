"""What a process asks of its kernel, and in which order: read from what `strace -f -xx` has written."""

import re

# The traced process stays the child of whoever started it, and strace says nothing to its error log.
COMMAND = ["strace", "-D", "-f", "-y", "-qq", "-xx", "-s", "4096", "-e", "signal=none"]
READS = {"read", "recvfrom", "readv", "recvmsg"}
WRITES = {"write", "sendto", "writev", "sendmsg"}
SYNCS = {"fsync", "fdatasync"}

WHOLE = re.compile(r"^(\d+) +(\w+)\((.*)\) += +(-?\d+)")
BEGUN = re.compile(r"^(\d+) +(\w+)\((.*)<unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += +(-?\d+)")
PATH = re.compile(r"^\d+<([^>]*)>")
TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def plain(text):
    """Text of which strace has written each byte as a number, if it has."""
    return bytes.fromhex(text.replace("\\x", "")).decode() if text.startswith("\\x") else text


def strace(path):
    """The command under which something is traced into a file."""
    calls = sorted(READS | WRITES | SYNCS)
    return [*COMMAND, "-e", f"trace={','.join(calls)}", "-o", path]


class Call:
    """A call: the lines of the trace in which it began and ended, its file, and the bytes that it moved."""

    def __init__(self, name, begun):
        self.name, self.begun, self.ended, self.succeeded = name, begun, None, False
        self.path, self.data = "", b""

    def add(self, arguments):
        if path := PATH.match(arguments):
            self.path = plain(path[1])
        for text in TEXT.findall(arguments):
            self.data += bytes.fromhex(text.replace("\\x", ""))

    def end(self, line, result):
        self.ended, self.succeeded = line, int(result) >= 0


def calls(path):
    """All calls in the order in which they began."""
    found, open_ = [], {}
    for number, line in enumerate(path.read_text().splitlines()):
        if match := BEGUN.match(line):
            process, name, arguments = match.groups()
            open_[process] = Call(name, number)
            open_[process].add(arguments)
            found.append(open_[process])
        elif match := RESUMED.match(line):
            process, name, arguments, result = match.groups()
            # What had begun before the trace is not in it.
            if process in open_ and open_[process].name == name:
                call = open_.pop(process)
                call.add(arguments)
                call.end(number, result)
        elif match := WHOLE.match(line):
            _, name, arguments, result = match.groups()
            call = Call(name, number)
            call.add(arguments)
            call.end(number, result)
            found.append(call)
    return found
