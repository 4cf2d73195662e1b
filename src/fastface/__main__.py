"""`python -m fastface` is `fastface`."""

import sys

from fastface.cli import main

sys.exit(main())
