"""The objective: weighted terms over pairs, added up. Pure: no model, no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mmedpo.config import TermSettings
from mmedpo.engine import Branch
from mmedpo.errors import ConfigError, TrainingError
from mmedpo.records import PairKind
from mmedpo.registry import lookup
from mmedpo.train.forms import View, preferred, sides
from mmedpo.train.groups import BranchPair, Wanted
from mmedpo.train.losses import Loss, LossOptions, PairValues, Use, uses_of

OPTIONS = tuple(LossOptions._fields)


class _Term(NamedTuple):
    """One term, ready to be computed."""

    name: str
    loss: Loss
    share: float
    """lambda."""
    options: LossOptions
    kinds: frozenset[PairKind]
    view: View
    uses: frozenset[Use]
    weighted: bool
    settings: TermSettings
    """When it counts."""

    @property
    def compares(self) -> bool:
        """Whether it needs both sides of its view."""
        return "rejected" in self.uses or self.view != View()

    def branches(self, pair: BranchPair) -> list[Branch] | None:
        """What it looks at of a pair; None where it does not look at the pair at all."""
        if pair.kind not in self.kinds or ("rewards" in self.uses and pair.kind != "text"):
            return None
        own = preferred(pair, self.view)
        looked = sides(pair, self.view) if self.compares else own and (own,)
        if looked is None:
            return None
        found = [branch for side in looked for branch in side.branches]
        if "other-image" not in self.uses:
            return found
        return None if pair.other is None else [*found, pair.other]

    def seen(self, values: PairValues) -> Tensor:
        """[pairs] which of them it looks at."""
        found = torch.zeros_like(values.visual)
        for kind, of_kind in (
            ("visual", values.visual),
            ("answer", values.answer),
            ("text", ~values.visual & ~values.answer),
        ):
            found = found | of_kind if kind in self.kinds else found
        if "rewards" in self.uses:
            found = found & ~values.visual & ~values.answer
        found = found & values.complete if self.compares else found
        return found & values.contrasted if "other-image" in self.uses else found


class Objective:
    """L = mean_i sum_k lambda_k w_i phi_k(i), w_i = s'_i for preference terms and 1 for regularisers.

    The default, one sigmoid term, is Eq. 3 of MMedPO: - mean_i s'_i log sigmoid(beta [a(y_w, x)_i - a(y_l, x*)_i]).
    The mean is over the pairs, *not* divided by the sum of the weights: a pair of weight 0 adds
    nothing but still counts, and so does one that a term does not look at.

    Args:
        terms: settings of the terms.
        beta: temperature of terms that give none.

    Raises:
        ConfigError: an unknown loss, or an option that the loss does not use.
    """

    def __init__(self, terms: Sequence[TermSettings], beta: float) -> None:
        self._terms = [_term(term, beta) for term in terms]
        self._beta = beta

    @property
    def views(self) -> list[View]:
        """What the terms look at, each once."""
        return list(dict.fromkeys(term.view for term in self._terms))

    @property
    def tempered(self) -> bool:
        """Whether a term reads `train.beta`: one whose loss has a temperature, and that gives none of its own."""
        return any("beta" in term.loss.options and term.settings.beta is None for term in self._terms)

    def at(self, progress: float) -> Objective:
        """The terms that count at a share of the optimizer steps; the same object where all do."""
        now = [term.settings for term in self._terms if term.settings.counts(progress)]
        return self if len(now) == len(self._terms) else Objective(now, self._beta)

    def sum(self, values: Mapping[View, PairValues]) -> Tensor:
        """Sum of the pairs' losses, a scalar; divide by the number of pairs of the optimizer step.

        Args:
            values: of the same pairs under each of `views`.
        """
        total = values[self.views[0]].weight.new_zeros(())
        for term in self._terms:
            of_view = values[term.view]
            seen = term.seen(of_view)
            part = PairValues(*(value[seen] for value in of_view))
            weight = part.weight if term.weighted else torch.ones_like(part.weight)
            total = total + term.share * (weight * term.loss(part, term.options)).sum()
        return total

    def needs(self, pair: BranchPair) -> bool:
        """Whether a pair contributes anything: if not, it needs no forward pass."""
        return any(term.branches(pair) is not None and (not term.weighted or pair.weight != 0) for term in self._terms)

    def branches(self, pair: BranchPair) -> list[Branch]:
        """What the policy must be asked of a pair, the preferred branch first."""
        looked = [branch for term in self._terms for branch in term.branches(pair) or ()]
        return list(dict.fromkeys([pair.chosen, *looked]))

    def compared(self, pair: BranchPair) -> list[Branch]:
        """What the reference must be asked of a pair."""
        return list(
            dict.fromkeys(
                branch for term in self._terms if "reference" in term.uses for branch in term.branches(pair) or ()
            )
        )

    def check(self, pairs: Sequence[BranchPair]) -> None:
        """Refuses a term that would look at none of the pairs.

        Raises:
            TrainingError: there is one; the message says what it looks for.
        """
        for term in self._terms:
            if not any(term.branches(pair) is not None for pair in pairs):
                kinds = " or ".join(sorted(term.kinds))
                raise TrainingError(
                    f"term {term.name!r} (form {term.view.form}, tokens {term.view.tokens}) looks at none of the "
                    f"{len(pairs)} pairs: it needs {_needed(term)} in {kinds} pairs; remove it, or make such pairs"
                )

    def wanted(self, folder: Path | None = None) -> Wanted:
        """What the terms look at beside the two sides of a pair; composites are written into `folder`."""
        forms = {view.form for view in self.views}
        edited = any(view.tokens == "edited" for view in self.views)
        composed = folder if "composite" in forms else None
        return Wanted(bool(forms - {"given", "inherent", "own"}), edited, "inherent" in forms, composed)

    def check_stages(self, steps: int) -> None:
        """Refuses a term that would count in none of the optimizer steps.

        Raises:
            TrainingError: there is one.
        """
        for term in (term.settings for term in self._terms):
            if not any(term.counts(step / steps) for step in range(steps)):
                raise TrainingError(
                    f"term {term.loss!r} (after={term.after:g}, until={term.until:g}) counts in none of the {steps} "
                    "optimizer steps; move after or until, or raise train.epochs"
                )

    @property
    def draws(self) -> bool:
        """Whether any term looks at what the policy says in the step itself."""
        return any(view.form == "inherent" for view in self.views)

    @property
    def refers(self) -> bool:
        """Whether any term compares with the reference."""
        return any("reference" in term.uses for term in self._terms)

    @property
    def weighs(self) -> bool:
        """Whether the weight of a pair reaches any term."""
        return any(term.weighted for term in self._terms)

    def weighs_kind(self, kind: PairKind) -> bool:
        """Whether the weight of a pair of this kind does."""
        return any(term.weighted and kind in term.kinds for term in self._terms)

    @property
    def spreads(self) -> bool:
        """Whether any term needs whole next-token distributions."""
        return any("distributions" in term.uses for term in self._terms)

    @property
    def rewards(self) -> bool:
        """Whether any term needs a reward for every token of an own answer."""
        return any("rewards" in term.uses for term in self._terms)

    @property
    def contrasts(self) -> bool:
        """Whether any term looks at another image of the step."""
        return any("other-image" in term.uses for term in self._terms)

    @property
    def whole_families(self) -> bool:
        """Whether pairs that share their preferred branch must be seen together."""
        return any(term.loss.whole_families for term in self._terms)


def _needed(term: _Term) -> str:
    if "rewards" in term.uses:
        return "an own answer, which text pairs have,"
    if "other-image" in term.uses:
        return "an answer that rests on a finding"
    if term.view.form == "inherent":
        return "a noised image"
    if term.view.form != "given" or term.view.tokens == "edited":
        return "the wrong answer of the same question (curate.kinds=[text, visual])"
    return "a rejected side" if term.compares else "an answer"


def _term(settings: TermSettings, beta: float) -> _Term:
    try:
        loss: Loss = lookup("loss", settings.loss)()
    except ConfigError as error:
        raise ConfigError(f"train.objective: {error}") from None
    given = {name: value for name in OPTIONS if (value := getattr(settings, name)) is not None}
    for name in given:
        if name not in loss.options:
            raise ConfigError(
                f"train.objective: {name} has no effect on loss {settings.loss!r}, "
                f"which uses {', '.join(sorted(loss.options)) or 'no options'}; remove it"
            )
    _check_view(settings, uses_of(loss))
    return _Term(
        settings.loss,
        loss,
        settings.weight,
        LossOptions(**{"beta": beta, **given}),
        frozenset(settings.kinds),
        View(settings.form, settings.tokens),
        uses_of(loss),
        not loss.regulariser if settings.weighted is None else settings.weighted,
        settings,
    )


def _check_view(settings: TermSettings, uses: frozenset[Use]) -> None:
    """Refuses a form, or tokens, of which the loss sees one half or the wrong one."""
    if "rewards" in uses and settings.form != "own":
        raise ConfigError(
            f"train.objective: loss {settings.loss!r} learns from the answer that was sampled, not from form "
            f"{settings.form!r}; set form: own"
        )
    if settings.form == "own" and not uses & {"rewards", "distributions"}:
        raise ConfigError(
            f"train.objective: form 'own' is the sampled answer, wrong as it may be, and loss {settings.loss!r} would "
            "prefer it to the truth; use it with policy-gradient or token-kl, or remove it"
        )
    if "other-image" in uses and View(settings.form, settings.tokens) != View():
        raise ConfigError(
            f"train.objective: loss {settings.loss!r} compares the whole true answer on two images; form "
            f"{settings.form!r} and tokens {settings.tokens!r} would change one of them alone; remove them"
        )
