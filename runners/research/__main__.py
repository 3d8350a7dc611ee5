"""`python -m runners.research FOLDER`: a study's worker that cannot outlive its parent."""

from __future__ import annotations

import sys

from runners.child import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    from runners.research.worker import main

    sys.exit(main(sys.argv))
