"""``python -m validation`` makes every certificate again; ``fuzz`` tries the readers; ``benchmarks`` writes tables."""

import sys

if sys.argv[1:2] == ["fuzz"]:
    from validation.fuzz.command import main as fuzz

    sys.exit(fuzz(sys.argv[2:]))

if sys.argv[1:2] == ["benchmarks"]:
    from validation.benchmarks.card_tables import main as benchmarks

    sys.exit(benchmarks(sys.argv[2:]))

from validation.run import main

sys.exit(main())
