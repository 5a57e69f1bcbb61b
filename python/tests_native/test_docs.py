"""The examples of the guide and of the README run."""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import LINUX, LONG, ROOT

PAGES = ("docs/guide/src/python.md", "python/README.md")


class Examples(unittest.TestCase):
    def test_they_run(self) -> None:
        ran = 0
        with tempfile.TemporaryDirectory() as folder:
            for name in ("vmlinuz", "initramfs"):
                os.symlink(LINUX / name, Path(folder, name))
            for page in PAGES:
                text = Path(ROOT, page).read_text()
                for number, program in enumerate(re.findall(r"```python\n(.*?)```", text, re.S)):
                    # The README also has examples of the drop-in, with tests of theirs.
                    if "from qemu_machine import" not in program:
                        continue
                    with self.subTest(f"{page}, example {number}"):
                        ran += 1
                        ended = subprocess.run(
                            [sys.executable, "-W", "error", "-c", program],
                            cwd=folder, capture_output=True, text=True, timeout=LONG,
                            # Not the user's store of templates.
                            env={**os.environ, "XDG_CACHE_HOME": folder},
                        )  # fmt: skip
                        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
                        self.assertNotEqual(ended.stdout, "")
        self.assertGreaterEqual(ran, 6)
