"""English grammar: irregular forms from short lists, and agreement over made sentences."""

from __future__ import annotations

import random
from collections.abc import Iterator

from pipelines.questions.draft import Draft, draft_choice
from pipelines.questions.generator import generator, shuffled

_SOURCE = "English grammar"


def _rows(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row.split()) for row in text.split(", "))


#: Singular and plural, by level (common, less common, learned).
_PLURALS = (
    _rows(
        "child children, man men, woman women, foot feet, tooth teeth, wife wives, goose geese, leaf "
        "leaves, wolf wolves, knife knives, city cities, box boxes"
    ),
    _rows(
        "ox oxen, louse lice, half halves, thief thieves, shelf shelves, tomato tomatoes, loaf loaves, calf "
        "calves, potato potatoes, elf elves, echo echoes, baby babies"
    ),
    _rows(
        "diagnosis diagnoses, emphasis emphases, analysis analyses, crisis crises, thesis theses, alumnus "
        "alumni, synopsis synopses, bacterium bacteria, oasis oases, axis axes, hypothesis hypotheses, "
        "parenthesis parentheses, stimulus stimuli, ovum ova"
    ),
)
#: Verb, past and past participle, which differ, by level.
_VERBS = (
    _rows(
        "go went gone, see saw seen, eat ate eaten, give gave given, take took taken, write wrote written, "
        "know knew known, do did done, speak spoke spoken, fall fell fallen, break broke broken, forget "
        "forgot forgotten"
    ),
    _rows(
        "swim swam swum, sing sang sung, drive drove driven, drink drank drunk, shake shook shaken, bite "
        "bit bitten, wear wore worn, freeze froze frozen, steal stole stolen, hide hid hidden, blow blew "
        "blown, choose chose chosen"
    ),
    _rows(
        "forsake forsook forsaken, smite smote smitten, arise arose arisen, swear swore sworn, forbid "
        "forbade forbidden, withdraw withdrew withdrawn, undergo underwent undergone, partake partook "
        "partaken, foresee foresaw foreseen, outgrow outgrew outgrown, mistake mistook mistaken, overtake "
        "overtook overtaken"
    ),
)
#: Word and opposite, by level; no word has a second opposite in its level.
_OPPOSITES = (
    _rows(
        "hot cold, big small, up down, day night, good bad, fast slow, old young, happy sad, open closed, "
        "strong weak, rich poor, full empty, wet dry, loud quiet"
    ),
    _rows(
        "ancient modern, increase decrease, victory defeat, arrive depart, accept reject, shallow deep, "
        "cruel kind, guilty innocent, borrow lend, expand contract, temporary permanent, entrance exit, "
        "brave cowardly, cheap expensive"
    ),
    _rows(
        "verbose concise, transparent opaque, scarce abundant, nadir zenith, hostile amicable, frugal "
        "extravagant, diurnal nocturnal, novice expert, rigid flexible, timid bold, ephemeral lasting, arid "
        "humid, synthetic natural, acquit convict"
    ),
)
_SUBJECTS = ("dog", "teacher", "neighbour", "author", "king", "farmer", "doctor", "painter")
_PLACES = ("near the houses", "near the house", "with the red hats", "with the red hat", "beside the rivers")
_ENDINGS = ("very tired today", "always late", "ready to leave", "here for the first time")


@generator(domain="english", source=_SOURCE, levels=3)
def plural(level: int, rng: random.Random) -> Iterator[Draft]:
    """The plural of a noun, among forms that a wrong rule would give."""
    for singular, right in shuffled(_PLURALS[level], rng):
        stem = singular[:-1]
        forms = [
            singular + "s",
            singular + "es",
            singular + "en",
            stem + "i",
            stem + "ves",
            stem + "ies",
            stem + "a",
        ]
        yield draft_choice(f'What is the plural of "{singular}"?', right, forms, also_right=[singular])


@generator(domain="english", source=_SOURCE, levels=3)
def past_tense(level: int, rng: random.Random) -> Iterator[Draft]:
    """The past tense of a verb, among its participle and forms that a wrong rule would give."""
    for verb, past, participle in shuffled(_VERBS[level], rng):
        forms = [participle, verb.rstrip("e") + "ed", past.rstrip("e") + "ed", verb + "t"]
        yield draft_choice(f'What is the past tense of "{verb}"?', past, forms)


@generator(domain="english", source=_SOURCE, levels=3, default=False)
def participle(level: int, rng: random.Random) -> Iterator[Draft]:
    """The past participle of a verb, which differs from its past tense."""
    for verb, past, right in shuffled(_VERBS[level], rng):
        forms = [past, verb.rstrip("e") + "ed", past.rstrip("e") + "en", verb]
        yield draft_choice(f'What is the past participle of "{verb}"?', right, forms)


@generator(domain="english", source=_SOURCE, levels=3)
def opposite(level: int, rng: random.Random) -> Iterator[Draft]:
    """The opposite of a word, among opposites of other words."""
    pool = [word for pair in _OPPOSITES[level] for word in pair]
    for word, right in shuffled(_OPPOSITES[level], rng):
        yield draft_choice(f'What is the opposite of "{word}"?', right, pool, also_right=[word])


@generator(domain="english", source=_SOURCE, levels=3)
def agreement(level: int, rng: random.Random) -> Iterator[Draft]:
    """The verb that agrees with the subject; from level 1 on another noun stands between them."""
    while True:
        singular = rng.random() < 0.5
        subject = f"The {rng.choice(_SUBJECTS)}{'' if singular else 's'}"
        start = " ".join([subject, *rng.sample(_PLACES, level)])
        ending = rng.choice(_ENDINGS)
        right, wrong = ("is", "are") if singular else ("are", "is")
        prompt = f'Complete the sentence "{start} ... {ending}" correctly.'
        yield draft_choice(prompt, f"{start} {right} {ending}.", [f"{start} {wrong} {ending}."])
