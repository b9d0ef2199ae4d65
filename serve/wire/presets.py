"""The names of what a point of success may be worth. Light: the command line's help reads it."""

from typing import Literal, get_args

Preset = Literal["quality", "balanced", "economy"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
