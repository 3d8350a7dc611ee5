"""`python -m runners.harness job.json`: start a worker that cannot outlive its parent.

The worker's heavy imports take seconds, so it binds itself to its parent before them.
"""

from __future__ import annotations

import sys

from runners.child import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    from runners.harness.worker import main

    sys.exit(main(sys.argv))
