"""The keeper of texts in an ingress: made where texts may be recorded, from the settings and the key."""

from __future__ import annotations

import atexit

from experts.upstream.credentials import handed_over
from serve.config import ServeConfig
from serve.request.recording.texts import SpokenText, TextKeeper
from warehouse import InputError
from warehouse.traffic.redaction import check_redaction, make_redact
from warehouse.traffic.retention import RecordingKept
from warehouse.traffic.sealing import KEY_VARIABLE, Seal, read_seal
from warehouse.traffic.text_writer import TextWriter
from warehouse.traffic.texts import RecordedText, TextStore


def check_texts(config: ServeConfig) -> None:
    """See that texts can be kept as the settings say, where they say so.

    Raises:
        InputError: they would be kept for no time, or are sealed with another key than is given.
        CannotRunError: they are to be redacted, and what it takes is not installed.
    """
    if config.record != "texts":
        return
    if config.keep_texts_days < 1:
        raise InputError(
            "texts cannot be recorded and kept for 0 days",
            where="--record texts --keep-texts-days 0",
            fix="keep them for a day or more, or record features",
        )
    if config.redact:
        check_redaction()
    TextStore(config.home, _seal_of(config)).check()


def text_keeper(config: ServeConfig) -> TextKeeper | None:
    """Return what takes the words of requests; None where none are recorded."""
    if config.record != "texts":
        return None
    writer = TextWriter(TextStore(config.home, _seal_of(config)), make_redact if config.redact else None)
    atexit.register(writer.close)

    def keep(spoken: SpokenText) -> None:
        writer.keep(
            RecordedText(
                spoken.request_id,
                spoken.prompt_messages,
                spoken.answer_text,
                spoken.expert,
                spoken.key_id,
                spoken.user_hash,
                response_format=spoken.response_format,
            )
        )

    return keep


def recording_kept(config: ServeConfig) -> RecordingKept:
    """Return what an endpoint of these settings records, to be noted in its home."""
    is_sealed = config.record == "texts" and _seal_of(config) is not None
    return RecordingKept(config.record, config.keep_texts_days, is_sealed, config.redact)


def _seal_of(config: ServeConfig) -> Seal | None:
    return read_seal(handed_over(KEY_VARIABLE), config.texts_key_file)
