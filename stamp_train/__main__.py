"""``python -m stamp_train`` is ``stamp-train``."""

from __future__ import annotations

from stamp_train.cli import main

if __name__ == "__main__":
    main()
