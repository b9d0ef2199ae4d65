"""How it was measured, and what the figures do not say."""

from __future__ import annotations

from pipelines.report.parts import Paragraph, Section, table_of
from pipelines.report.policies import Evaluation


def tell_method(evaluation: Evaluation | None) -> Section:
    """The settings of the evaluation, what the words mean, and the limits."""
    if evaluation is None:
        text = (
            "This version was registered without an evaluation: fewer than 50 questions were answered, with a"
            " score and a cost, by every expert. Ask more questions and train anew."
        )
        return Section("method", "How it was measured", (Paragraph(text),))
    settings = evaluation["settings"]
    measured = (
        f"{evaluation['questions']:,} questions that every expert answered, over"
        f" {settings.get('seeds', '?')} random splits; each question is tested by a router that has not seen"
        " it, nor another question with the same prompt. Intervals are 95% bootstrap intervals over questions"
        f" ({settings.get('replicates', '?')} resamples). A part of the questions, by a hash of the prompt,"
        " is learned from by no router that is served, and decides about promotions."
    )
    limits = (
        "The figures hold for questions like these. Queries of your users may fall on other domains, be"
        " longer, or be asked in other words: look at the domains before you trust the mean. Prices are those"
        " of the catalogue on the day of the answers. Small domains have wide intervals: what lies inside"
        " them may be chance. Public questions may have been in an expert's training data, which flatters it."
    )
    rows = [(key.replace("_", " "), f"{value}") for key, value in settings.items()]
    rows += [("outcomes", str(evaluation["fingerprint"]))]
    return Section(
        "method",
        "How it was measured, and its limits",
        (Paragraph(measured), Paragraph(limits), table_of("settings", ("setting", "value"), rows)),
    )
