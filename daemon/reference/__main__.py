"""`python -m daemon.reference README.md` renews the generated parts of the file."""

from __future__ import annotations

import sys
from pathlib import Path

from daemon.reference import filled

for name in sys.argv[1:]:
    path = Path(name)
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
