"""Standard output and error whose reader may go, as `| head` does. That is no error: the program goes on with its work, files and status
included, and what it prints meanwhile is dropped. Importing this is enough; needs.py does. Needs nothing but Python."""
import os
import sys


class Outlet:
    """A text stream that drops what nobody reads any more."""

    def __init__(self, stream):
        self.stream = stream
        self.is_unread = False

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        try:
            return self.stream.write(text)
        except BrokenPipeError:
            self._drop()
            return len(text)

    def flush(self):
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._drop()

    def _drop(self):
        """What is still in the stream's buffer goes there, too, at the latest when Python ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)
        self.is_unread = True


def is_unread():
    """Whether the reader of standard output is known to have gone: for a program that does nothing but print."""
    return getattr(sys.stdout, "is_unread", False)


# None where the program was started without them
sys.stdout, sys.stderr = (stream and Outlet(stream) for stream in (sys.stdout, sys.stderr))
