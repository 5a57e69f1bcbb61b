"""Commands as a server of QMP reads them.

They are JSON values, and need no newline: QEMU's own package sends none. The fake
QEMU runs without the other files of this folder.
"""

import json


def commands(receive):
    """Parse what arrives. ``receive`` returns bytes, and none at the end."""
    data = b""
    while True:
        try:
            if not data.rstrip().endswith(b"}"):
                raise ValueError("the last command is incomplete")
            text = data.decode().lstrip()
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            more = receive()
            if not more:
                return
            data += more
        else:
            data = text[end:].encode()
            yield value
