"""The rooms of the house and the doors between them: the table that `tests/test_layering.py` holds.

`docs/architecture.md` shows the same table. What still breaks a rule stands in ``KNOWN``, which only shrinks.
"""

from __future__ import annotations

#: What a top-level folder may import besides itself.
FOLDERS: dict[str, set[str]] = {
    "warehouse": set(),
    "experts": {"warehouse"},
    "universe": {"warehouse", "experts"},
    "orchestrator": {"warehouse", "experts"},
    "serve": {"warehouse", "experts", "universe", "orchestrator"},
    "pipelines": {"warehouse", "experts", "universe", "orchestrator", "serve"},
    "infra": set(),
}

#: What a room may import besides itself and other folders: rooms, or single files of them. A folder's own
#: name stands for the files that lie in it directly; its `__init__`, which shows what rooms hold, is free.
ROOMS: dict[str, set[str]] = {
    "warehouse": set(),
    "warehouse/traffic": {"warehouse"},
    "warehouse/keeping": {"warehouse"},
    "experts/catalogue": set(),
    "experts/grading": {"experts/catalogue"},
    "experts/upstream": {"experts/catalogue"},
    "experts/forms": {"experts/catalogue", "experts/grading"},
    "experts/eligibility": {"experts/catalogue", "experts/upstream"},
    "experts/backends": {"experts/catalogue", "experts/grading", "experts/upstream", "experts/eligibility"},
    "experts": {
        *("experts/catalogue", "experts/grading", "experts/upstream", "experts/backends"),
        "experts/forms",
    },
    "universe/model": set(),
    "universe/solver": {"universe/model"},
    "universe/analysis": {"universe/model", "universe/solver"},
    "universe": {"universe/model"},
    "universe/report": {"universe/model", "universe/solver", "universe/analysis"},
    "orchestrator/text": set(),
    "orchestrator/predictors": {"orchestrator/text"},
    "orchestrator/selection": {"orchestrator/text", "orchestrator/predictors"},
    "orchestrator/asking": {"orchestrator/predictors", "orchestrator/selection"},
    "orchestrator/traffic": {"orchestrator/text", "orchestrator/predictors"},
    "orchestrator": {
        *("orchestrator/text", "orchestrator/predictors", "orchestrator/selection", "orchestrator/asking"),
        "orchestrator/traffic",
    },
    "orchestrator/evaluation": {
        *("orchestrator/text", "orchestrator/predictors", "orchestrator/selection", "orchestrator"),
        "orchestrator/asking",
    },
    "orchestrator/off_policy": {"orchestrator", "orchestrator/selection", "orchestrator/text"},
    "orchestrator/versions": {"orchestrator", "orchestrator/evaluation", "orchestrator/off_policy"},
    "serve/wire": set(),
    "serve/config": {"serve/wire"},
    "serve/transport": {"serve/wire"},
    "serve/ledger": {"serve/wire", "serve/transport", "serve/config"},
    "serve/router": {"serve/wire", "serve/transport", "serve/config"},
    "serve/experts": {"serve/wire", "serve/transport", "serve/config"},
    "serve/tracing": {"serve/config", "serve/transport"},
    "serve/request": {
        *("serve/wire", "serve/config", "serve/ledger/messages", "serve/router/messages"),
        "serve/tracing/messages",
        *("serve/experts/client", "serve/ledger/traffic/spool", "serve/ledger/overview/seen"),
    },
    "serve/dialects": {"serve/wire"},
    "serve/http": {"serve/wire", "serve/dialects", "serve/request", "serve/ledger/messages"},
    "serve/front": {"serve/wire", "serve/http"},
    "serve": {
        *("serve/wire", "serve/transport", "serve/ledger", "serve/router", "serve/experts", "serve/request"),
        *("serve/http", "serve/config", "serve/front", "serve/tracing"),
    },
    "pipelines": set(),
    "pipelines/answering": {"pipelines"},
    "pipelines/questions": {"pipelines"},
    "pipelines/questions/sources": {"pipelines", "pipelines/answering", "pipelines/questions"},
    "pipelines/learning": {"pipelines", "pipelines/answering"},
    "pipelines/selfplay": {
        *("pipelines", "pipelines/answering", "pipelines/learning", "pipelines/questions"),
        "pipelines/questions/sources",
    },
    "pipelines/forge": {
        *("pipelines", "pipelines/answering", "pipelines/learning", "pipelines/questions"),
        *("pipelines/questions/sources", "pipelines/selfplay/round_record"),
    },
    "pipelines/forge/closing": {
        *("pipelines", "pipelines/answering", "pipelines/learning", "pipelines/questions"),
        *("pipelines/questions/sources", "pipelines/selfplay/round_record", "pipelines/forge"),
    },
    "pipelines/traffic": {
        *("pipelines", "pipelines/answering", "pipelines/learning"),
        *("pipelines/selfplay/panel", "pipelines/selfplay/round_record"),
    },
    "pipelines/commands": {
        *("pipelines", "pipelines/answering", "pipelines/learning", "pipelines/questions"),
        *("pipelines/questions/sources", "pipelines/selfplay", "pipelines/traffic"),
    },
    "pipelines/report": {
        *("pipelines", "pipelines/answering", "pipelines/learning"),
        *("pipelines/selfplay/round_record", "pipelines/selfplay/results"),
    },
    "pipelines/commands/pages": {"pipelines", "pipelines/commands", "pipelines/report"},
    "pipelines/importing": {"pipelines", "pipelines/questions", "pipelines/traffic/as_questions"},
    "pipelines/commands/data": {
        *("pipelines", "pipelines/commands", "pipelines/importing", "pipelines/selfplay/round_record"),
    },
    "pipelines/commands/accounts": {"pipelines", "pipelines/commands"},
    "pipelines/commands/forge": {
        "pipelines",
        "pipelines/commands",
        "pipelines/forge",
        "pipelines/forge/closing",
    },
    "pipelines/commands/traffic": {"pipelines", "pipelines/commands", "pipelines/traffic"},
    "infra": set(),
    "infra/mlflow": set(),
}
#: Files that may ask an expert's spec which backend it has; what else depends on that is in `BackendKind`.
ASKS_BACKEND = "experts/backends/registry.py"
#: Files outside `pipelines/commands` that may print: the command line's own entry.
PRINTS = {"pipelines/cli.py"}
MOST_FILES, MOST_LINES = 18, 400  # of a room, of a file
CROWDED = {"pipelines/questions/generators"}  # a shelf: one file a domain

#: What still breaks a rule, one a line; see `tests/test_layering.py`. Nothing is ever added, and a line that
#: is no longer needed must go: the test names it.
KNOWN = {
    "file in a circle": set(),
    "room in a circle": set(),
    "import through a wall": set(),
    "long file": set(),
    "file that asks .backend": set(),
    "file with a Laboratory": set(),
    "step that prints": set(),
}
