"""``python -m pipelines.selfplay``: a run of rounds, as a Ray job submits it."""

from pipelines.commands.selfplay import main

if __name__ == "__main__":
    main()
