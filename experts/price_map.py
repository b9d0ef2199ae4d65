"""Lists of many models' prices: the one that the litellm package ships, or a file in its words or in ours."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from experts.catalogue.pricing import Price
from experts.catalogue.yaml_file import read_yaml
from warehouse import CannotRunError, InputError

LITELLM = "litellm"
_LITELLM_FILE = "model_prices_and_context_window_backup.json"
_RATES = {
    "input_cost_per_token": "usd_per_mtok_in",
    "output_cost_per_token": "usd_per_mtok_out",
    "cache_read_input_token_cost": "usd_per_mtok_cached_in",
    "input_cost_per_token_cache_hit": "usd_per_mtok_cached_in",
    "cache_creation_input_token_cost": "usd_per_mtok_cache_write",
    "cache_creation_input_token_cost_above_1hr": "usd_per_mtok_cache_write_1h",
    "output_cost_per_reasoning_token": "usd_per_mtok_reasoning",
    "input_cost_per_audio_token": "usd_per_mtok_audio_in",
    "output_cost_per_audio_token": "usd_per_mtok_audio_out",
    "input_cost_per_image_token": "usd_per_mtok_image_in",
    "output_cost_per_image_token": "usd_per_mtok_image_out",
}
_BATCHES = {name: f"{name}_batches" for name in ("input_cost_per_token", "output_cost_per_token")}
_STRETCHES = "tiered_pricing"
_ABOVE = re.compile(r"(.+)_above_(\d+)k_tokens")


@dataclass(frozen=True)
class PriceMap:
    """Prices by the models' names, as a source words them; ``origin`` says where they are from."""

    entries: Mapping[str, Mapping[str, Any]]
    origin: str

    def price(self, key: str) -> tuple[Price, tuple[str, ...]]:
        """Return a model's price, and the fields of its entry that say a price which ours has no word for.

        Raises:
            InputError: the entry is no price.
        """
        entry = self.entries[key]
        try:
            fields, left_out = (dict(entry), ()) if _is_ours(entry) else _read_litellm(entry)
            return Price.model_validate(fields), left_out
        except ValidationError as failure:
            message = str(failure.errors()[0]["msg"]).removeprefix("Value error, ")
        except (ArithmeticError, LookupError, TypeError, ValueError) as failure:
            message = f"the entry is no price ({type(failure).__name__})"
        raise InputError(
            message, where=f"{self.origin}, {key}", fix="correct it there, or leave the expert out"
        ) from None

    def provider(self, key: str) -> str | None:
        """Return whose model an entry is about, where it says so."""
        told = self.entries[key].get("litellm_provider")
        return str(told) if told else None


def read_price_map(source: str) -> PriceMap:
    """Read a price map: ``litellm`` for the one of the installed package, which is not imported; else a file.

    A file is JSON or YAML, a mapping from models (or experts) to prices, in litellm's words or in those of
    the catalogue.

    Raises:
        CannotRunError: litellm is not installed.
        InputError: the file cannot be read, or is no such mapping.
    """
    if source == LITELLM:
        path, origin = _litellm_file(), f"{LITELLM} {importlib.metadata.version(LITELLM)}"
    else:
        path, origin = Path(source), source
    if path.suffix in (".yaml", ".yml"):
        _, content = read_yaml(path)
    else:
        content = _read_json(path)
    if not isinstance(content, dict) or not content:
        raise InputError("no prices found", where=origin, fix="write a mapping from models to prices")
    for key, entry in content.items():
        if not isinstance(entry, dict):
            raise InputError(
                f"the price of {key!r} is no mapping", where=origin, fix="write {usd_per_mtok_in: ...}"
            )
    return PriceMap({str(key): entry for key, entry in content.items()}, origin)


def _litellm_file() -> Path:
    found = importlib.util.find_spec(LITELLM)
    if found is None or not found.submodule_search_locations:
        raise CannotRunError(
            "litellm is not installed", where="--from", fix="pip install litellm, or give a file of prices"
        )
    return Path(next(iter(found.submodule_search_locations))) / _LITELLM_FILE


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), fix=f"give a file, or `{LITELLM}`") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg}", where=f"{path}, line {error.lineno}", fix="correct the syntax there"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path), fix="give a file in UTF-8") from None


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return any(str(name).startswith("usd_per_") for name in entry)


def _read_litellm(entry: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of a price, and what was left out."""
    if _STRETCHES in entry:
        return _read_stretches(entry)
    fields, tiers = dict[str, Any](), dict[int, dict[str, float]]()
    missed = [name for name in entry if "cost" in name and _usd(entry[name]) != 0]
    for name, value in entry.items():
        usd = _usd(value)
        above = _ABOVE.fullmatch(name)
        rate = _RATES.get(above[1] if above else name)
        if usd is None or (name == "input_cost_per_request" or rate) is None:
            continue
        if name == "input_cost_per_request":
            fields["usd_per_call"] = float(usd)
        elif rate is not None and not _is_unknown(rate, usd, entry):
            own = tiers.setdefault(int(above[2]) * 1000, {}) if above else fields
            own[rate] = float(usd * 10**6)
        missed = [other for other in missed if other != name]
    if tiers:
        fields["tiers"] = [{"above_prompt_tokens": above, **tiers[above]} for above in sorted(tiers)]
    if (share := _batch_share(entry)) is not None:
        fields["batch_factor"] = share
        missed = [name for name in missed if name not in _BATCHES.values()]
    return fields, tuple(missed)


def _read_stretches(entry: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read an entry whose price goes by the length of the prompt, as a list of prices from one length on."""
    fields, left_out = _read_litellm({name: value for name, value in entry.items() if name != _STRETCHES})
    told = entry[_STRETCHES]
    if not isinstance(told, list) or not told:
        return fields, (*left_out, _STRETCHES)
    tiers: list[dict[str, Any]] = []
    for place, one in enumerate(told):
        starts = one.get("range") if isinstance(one, dict) else None
        if not isinstance(one, dict) or (place and not isinstance(starts, list)):
            left_out = (*left_out, f"{_STRETCHES}[{place}]")
            continue
        rates, missed = _read_litellm(one)
        left_out += tuple(f"{_STRETCHES}[{place}].{name}" for name in missed)
        above = int(starts[0]) if isinstance(starts, list) else 0
        if place or above:
            tiers.append({"above_prompt_tokens": above, **rates})
        else:
            fields |= rates
    if tiers:
        fields["tiers"] = tiers
    return fields, left_out


def _is_unknown(rate: str, usd: Decimal, entry: Mapping[str, Any]) -> bool:
    """A list says 0 where it does not know what writing into a cache costs; it is never free."""
    return not usd and rate.startswith("usd_per_mtok_cache_write") and bool(entry.get("input_cost_per_token"))


def _batch_share(entry: Mapping[str, Any]) -> float | None:
    """Return what a call of a batch costs as a share, the larger one of prompt and completion."""
    pairs = [(_usd(entry.get(plain)), _usd(entry.get(batch))) for plain, batch in _BATCHES.items()]
    shares = [batch / plain for plain, batch in pairs if plain and batch]
    share = max(shares, default=None)
    return None if share is None or share > 1 else float(round(share, 6))


def _usd(value: Any) -> Decimal | None:
    """Return a number as it is written: a millionth of 0.28 times a million is 0.28 again."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Decimal(repr(value))
