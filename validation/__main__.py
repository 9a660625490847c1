"""``python -m validation`` makes every certificate again; ``python -m validation fuzz`` tries the readers."""

import sys

if sys.argv[1:2] == ["fuzz"]:
    from validation.fuzz.command import main as fuzz

    sys.exit(fuzz(sys.argv[2:]))

from validation.run import main

sys.exit(main())
