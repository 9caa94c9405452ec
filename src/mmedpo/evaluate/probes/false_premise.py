"""False premise: is a question refused that takes a finding for granted which the truth denies?"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmedpo.clinical.bearing import shares, shown_in
from mmedpo.clinical.findings import GENERIC_FINDINGS
from mmedpo.clinical.premises import denied, premise
from mmedpo.evaluate.probes.another_patient import patient_of
from mmedpo.evaluate.probes.choosing import Way, choices_of
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Drop, Example, Measurement
from mmedpo.registry import register
from mmedpo.storage.tables import write_text

PREMISES = "premises.json"
"""Question -> finding, and image of another patient who has it."""


class Presupposed(Measurement):
    """By how much saying that the finding is not there is likelier than placing or grading it, nats."""

    denied: float
    """On the image whose truth denies it: above 0 is right."""
    held: float
    """On the image of a patient who has it: below 0 is right."""


@register("probe", "false-premise")
class FalsePremise(Probe[Presupposed]):
    """Share of findings whose false premise is refused, and whose true one is accepted.

    "On which side is the nodule?", asked where there is none, and of another patient where there is one. A model that
    never looks does the same both times, and is right once at most.
    """

    title = "False premise"
    unit = "of questions"
    quantities: ClassVar[Mapping[str, str]] = {
        "refused": "false: refused",
        "accepted": "true: accepted",
        "both": "both",
    }
    headline = "both"
    about = "share of questions refused where their premise is false, and answered where it is true"
    record = Presupposed
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions whose truth denies a finding that another patient has."""
        holders = _holders(examples)
        shown = shown_in(examples)
        chosen: dict[str, list[str]] = {}
        drops: list[Drop] = []
        seen: set[tuple[str, str]] = set()

        def usable(example: Example) -> bool:
            fact = denied(example)
            if fact is None or (example.image.sha256, fact.name) in seen:
                return False
            seen.add((example.image.sha256, fact.name))
            others = [e for e in holders[fact.name] if patient_of(e) != patient_of(example)]
            reason = "no-patient-with-the-finding" if not others else ""
            there = shown[example.image.sha256] - GENERIC_FINDINGS.keys()
            reason = "image-may-show-the-finding" if shares({fact.name}, there) else reason
            if reason:
                drops.append(Drop(stage=place.stage, item=example.example_id, reason=reason))
                return False
            other = min(others, key=lambda e: _drawn(example, e))
            chosen[example.example_id] = [fact.name, other.image.path]
            return True

        asked = self.sample(examples, usable)
        write_text(place.folder / PREMISES, json.dumps(chosen))
        return Prepared(asked, drops)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Presupposed]:
        """Denial and acceptances on both images."""
        chosen = json.loads((subject.folder / PREMISES).read_text())
        ways = []
        for example in examples:
            finding, other = chosen[example.example_id]
            asked = premise(finding, example.question)
            answers = (asked.denial, *asked.acceptances)
            views = [image_file(subject.image_root, path) for path in (example.image.path, other)]
            ways.append([Way(view, asked.question, answers) for view in views])
        return [
            Presupposed(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                denied=own.margin,
                held=there.margin,
            )
            for example, (own, there) in zip(examples, choices_of(subject, examples, ways), strict=True)
        ]

    def values(self, rows: Sequence[Presupposed]) -> Mapping[str, Mapping[str, float]]:
        """1 where what is said fits the image; a tie is wrong."""
        refused = {row.example_id: float(row.denied > 0) for row in rows}
        accepted = {row.example_id: float(row.held < 0) for row in rows}
        both = {name: refused[name] * accepted[name] for name in refused}
        return {"refused": refused, "accepted": accepted, "both": both}


def _holders(examples: Sequence[Example]) -> Mapping[str, list[Example]]:
    """Finding -> one question on each image that shows it."""
    found: dict[str, list[Example]] = defaultdict(list)
    first = {example.image.sha256: example for example in reversed(examples)}
    for image, names in shown_in(examples).items():
        for name in names:
            found[name].append(first[image])
    return found


def _drawn(example: Example, other: Example) -> bytes:
    return hashlib.sha256(f"{example.example_id}\0{other.image.sha256}".encode()).digest()
