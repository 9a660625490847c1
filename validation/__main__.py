"""``python -m validation`` makes every certificate again."""

import sys

from validation.run import main

sys.exit(main())
