"""``python -m pipelines.traffic``: ``leeroo learn`` as a Ray job submits it, with the same options."""

import sys

from pipelines.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "learn")
    main()
