"""Why an answer ended, in any vendor's words."""

from __future__ import annotations

#: Reasons to end that mean a failure, whatever came before.
FAILED_FINISHES = frozenset(
    (
        "error",
        "abort",
        "aborted",
        "network_error",
        "server_error",
        "internal_error",
        "insufficient_system_resource",
    )
)
_WITHHELD = (
    *("content_filter", "content-filter", "contentfilter", "safety", "recitation", "prohibited_content"),
    *("blocklist", "spii", "sensitive", "refusal", "guardrail_intervened", "moderation", "image_safety"),
)
#: Reasons to end in other vendors' words.
FINISHES = {
    **dict.fromkeys(
        ("stop", "end_turn", "eos", "eos_token", "stop_sequence", "complete", "completed", "end"), "stop"
    ),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "max_length", "model_length"), "length"),
    **dict.fromkeys(("tool_calls", "tool_use", "tool_call"), "tool_calls"),
    "function_call": "function_call",
    **dict.fromkeys(_WITHHELD, "content_filter"),
}
