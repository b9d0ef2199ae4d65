"""How vendors word what is wrong: patterns over a reply's codes and message, in small letters."""

from __future__ import annotations

import re


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


#: OpenAI, Azure, Anthropic, vLLM, SGLang, TGI, Together, Mistral, Gemini, Groq, xAI, llama.cpp, ollama ...
CONTEXT_OVERFLOW = _any(
    r"context[ _]?(length|window|size|limit)",
    r"maximum context",
    r"available context",
    r"context_length_exceeded",
    r"prompt is too long",
    r"(prompt|input|message)s? (is|are|too|length|tokens?)\b[^.]{0,80}(exceed|at most|limit)",
    r"(prompt|input|message)s? (is|are|length|tokens?)\b[^.]{0,80}too (long|large|many)",
    r"too many (input |prompt )?tokens",
    r"input token count",
    r"maximum number of (input )?tokens",
    r"max(imum)? (prompt|input|sequence|model)[ _](length|len|tokens)",
    r"exceed(s|ed|ing)? (the |its |your )?(model|token|input|prompt)[^.]{0,40}(limit|length|maximum)",
    r"too large for (the )?model",
    r"longer than the (model|maximum)",
    r"range of input length",
    r"tokens? limit exceeded",
    r"`?inputs`? tokens",
    r"reduce (the|your) (length|prompt|input|message)",
    r"string_above_max_length",
    r"(less|fewer) than \d+ tokens",
    r"request too large",
    r"n_ctx",
    r"max_seq_len",
    r"number of tokens[^.]{0,60}exceed",
    r"requested tokens? [^.]{0,40}exceed",
    r"超长",
    r"上下文长度",
)
CONTENT_FILTER = _any(
    r"content[ _-]?filter",
    r"content[ _]policy",
    r"content management policy",
    r"responsible ?ai",
    r"safety (system|reason|filter|setting)",
    r"moderation",
    r"flagged",
    r"prompt was blocked",
    r"blocked (by|due|for|because)",
    r"prohibited[ _]content",
    r"data ?_?inspection ?_?failed",
    r"inappropriate content",
    r"content exists risk",
    r"sensitive (content|information|word)",
    r"guardrail",
    r"(unsafe|harmful) content",
    r"usage (polic|guideline)",
    r"safety_check",
    r"content_blocked",
    r"high risk",
    r"invalid_prompt",
    r"recitation",
    r"敏感",
    r"违规",
)
#: These say so beyond doubt.
ACCOUNT_EMPTY = _any(
    r"insufficient[ _-]?(user[ _])?(quota|credit|balance|fund)",
    r"(not enough|out of|no|low|negative|exhausted) (credit|balance|fund)",
    r"(credit|balance|fund)s?( balance)? (is |are |has |have )?(been )?(too low|insufficient|used up)",
    r"(credit|balance|fund)s?( balance)? (is |are |has |have )?(been )?(negative|depleted|exhausted|expired)",
    r"ran out of credit",
    r"requires? more credits",
    r"billing_(hard_limit|not_active)",
    r"billing hard limit",
    r"account_?(is )?(not active|deactivated|in arrears)",
    r"arrear",
    r"overdue",
    r"payment[ _]required",
    r"payment method",
    r"spend(ing)?[ _]limit",
    r"hard limit",
    r"top[ -]?up",
    r"recharge",
    r"(specified|workspace|organization) (api )?usage limit",
    r"exceeded (your|the) (monthly )?(included )?credits?",
    r"key limit exceeded",
    r"exceeded_current_quota_error",
    r"余额不足",
    r"欠费",
    r"(monthly|account|usage) (spend|budget|usage) ?(limit|cap)?[^.]{0,20}(reached|exceeded)",
)
#: These as well, unless a wait is told: some vendors call a limit per minute a quota.
ACCOUNT_EMPTY_OR_BUSY = _any(
    r"\bquota\b",
    r"billing",
    r"\bcredits?\b",
    r"usage limit",
    r"insufficient_quota",
)
#: A limit of these is over soon, whatever it is called.
OF_A_WHILE = _any(r"per[ _-]?(second|sec|minute|min|hour)\b", r"\b[rt]pm\b", r"rate[ _-]?limit")
CREDENTIALS = _any(
    r"(invalid|incorrect|missing|expired|wrong|bad|no|unknown|revoked|disabled)[ _](api[ _-]?)(key|token)",
    r"api[ _-]?key[^.]{0,30}(not valid|invalid|expired|incorrect|missing|not found|disabled|revoked)",
    r"authentication_error",
    r"invalid authentication",
    r"authentication fail",
    r"no auth credentials",
    r"unauthenticated",
    r"unauthori[sz]ed",
)
MODEL_GONE = _any(
    r"model[ _](not[ _](found|supported)|decommissioned|not[ _]available|not[ _]exist|deprecated)",
    r"decommissioned",
    r"model\b.{0,120}\b(not exist|not found|is not available|(been|is|was) (deprecated|retired|removed))",
    r"model\b.{0,120}\b(been|is|was) (shut down|discontinued|disabled|sunset)",
    r"(invalid|unknown|unsupported|no such) model\b",
    r"invalid_model",
    r"not a valid model",
    r"deployment ?not ?found",
    r"api deployment for this resource",
)
BUSY = _any(
    r"rate[ _-]?limit",
    r"too many requests",
    r"overloaded_error",
    r"resource_exhausted",
    r"throttl",
    r"requests per (min|sec|day)",
)
REFUSED = _any(
    r"unsupported",
    r"not (be )?support",
    r"n.t support",
    r"doesn't support",
    r"unknown",
    r"unrecogni[sz]ed",
    r"not (be )?(allowed|permitted|enabled|available|implemented|accepted|compatible|supported)",
    r"extra (inputs|fields)",
    r"additional properties",
    r"unexpected",
    r"deprecated",
    r"disallowed",
    r"may not",
    r"cannot (both )?be (specified|used|set|combined)",
    r"only (the )?default",
    r"only 1\b",
    r"may only be",
    r"no endpoint",
    r"cannot find field",
    r"not a valid (parameter|field|argument)",
    r"removed",
    r"forbidden",
    r"requires --",
    r"no longer",
    r"disabled",
    r"is invalid for this model",
    r"use '?max_completion_tokens",
    r"not_supported",
)
#: A request for a picture or a sound at a model that takes none is its caller's.
NOT_A_PARAMETER = _any(
    r"(image|audio|video|vision|pdf|file|multimodal)s?\b[^.]{0,40}(input|content|not support|url)",
)

#: Codes and types under status 200, and what status they stand for.
STATUS_OF_CODE: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (_any(pattern), status)
    for pattern, status in (
        (r"rate_?limit|too_many_requests|resource_exhausted|throttl", 429),
        (r"overloaded_error", 529),
        (r"authentication|invalid_api_key|unauthenticated|unauthori[sz]ed", 401),
        (r"permission|forbidden", 403),
        (r"payment|insufficient|billing", 402),
        (r"model_not_found|not_?found", 404),
        (r"timeout|deadline", 504),
        (r"unavailable", 503),
        (
            r"invalid_request|invalid_argument|bad_?request|validation|failed_precondition"
            r"|content_filter|context_length",
            400,
        ),
    )
)
