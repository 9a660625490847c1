"""``python -m genarium``."""

import sys

from genarium.cli import main

sys.exit(main())
