"""``python -m pipelines.forge``: ``leeroo forge close`` as a Ray job submits it, with the same options."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["forge", "close"]
    main()
