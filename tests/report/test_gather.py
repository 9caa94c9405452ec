"""What a reader sees of a finished run, and of runs in which much is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmedpo.config import RunSettings, ScoreSettings, TrainSettings, check_names, load_settings
from mmedpo.errors import RunFolderError
from mmedpo.records import Example, PreferencePair, Turn
from mmedpo.records.looks import best_step
from mmedpo.report.content import ReportContent
from mmedpo.report.gather import report_content, write_report
from mmedpo.report.head import objective, trained, weighting
from mmedpo.report.panel import consensus
from mmedpo.report.sections.predictions import proportional
from mmedpo.report.sections.results import results
from mmedpo.run import Run
from mmedpo.score.debate import Case, Opinion, debate
from report.finished_run import empty_run, evaluation, full_run, imported_run, page, preference_log, turns, visual_pair


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return full_run(tmp_path_factory.mktemp("runs") / "by-hand")


@pytest.fixture(scope="module")
def content(full: Run) -> ReportContent:
    return report_content(full)


def test_the_report_opens_with_the_first_split_and_its_interval(full: Run) -> None:
    text = page(full)
    assert "On test-balanced, closed accuracy rose. By the probes, lesion reliance rose." in text
    assert "closed accuracy, % 50.0 75.0 +25.0 +10.0 to +40.0 0.020" in text
    assert "no difference shown in closed accuracy" not in text, "only the first split is the headline"
    assert text.index("The model is tiny.") < text.index("Two images are equal.") < text.index("Results")
    assert "2026-03-14 09:12 UTC" in text
    assert "phantom, 18 questions on 18 images" in text
    assert "1 min 23 s" in text


def test_every_other_protocol_and_the_reading_aids_are_told(full: Run) -> None:
    text = page(full)
    assert "%: base → tuned split · protocol closed accuracy test-balanced · released 61.0 → 84.0" in text
    assert "always giving the most frequent closed answer would score 55.0 %" in text
    assert "answered with yes: base 90.0 %, tuned 50.0 %; the truth is yes in 40.0 %" in text
    assert "10,000 resamples" in text
    # The interval 0.1 to 0.4 has a standard error of 0.3 / 3.92; 1.96 + 0.84 of them are 21.4 points.
    assert "shown eight times of ten, percentage points: closed accuracy 21.4." in text


def test_metrics_nobody_measured_are_absent() -> None:
    assert {metric.name for metric in results(evaluation()).metrics} == {"closed accuracy"}


def test_drops_are_counted_by_stage_and_reason(content: ReportContent) -> None:
    assert [(drop.stage, drop.reason, drop.count) for drop in content.parts["drops"].drops] == [
        ("ground", "tool-not-applicable", 3),
        ("score", "unscored", 1),
    ]


def test_warnings_name_stage_and_number(content: ReportContent) -> None:
    assert [(warning.stage, warning.message) for warning in content.parts["drops"].warnings] == [
        ("score", "visual weights: all 2 scores are equal"),
        ("evaluate", "test-balanced: 2 answers of base could not be scored (empty-reference)"),
        ("evaluate", "test: 2 answers of base could not be scored (empty-reference)"),
        ("evaluate", "1 of 12 answers of tuned were cut at 96 tokens"),
    ]


def test_a_length_shortcut_is_warned_of_only_where_the_loss_compares(tmp_path: Path) -> None:
    run = imported_run(tmp_path / "longer")
    told = (
        "curate",
        "the rejected answer is the longer one in 100 % of the text pairs: a model can win by being short",
    )
    assert told not in [(warning.stage, warning.message) for warning in report_content(run).parts["drops"].warnings]
    run.settings = run.settings.model_copy(update={"train": TrainSettings()})
    assert told in [(warning.stage, warning.message) for warning in report_content(run).parts["drops"].warnings]


def test_mostly_written_answers_are_warned_of(tmp_path: Path) -> None:
    run = full_run(tmp_path / "written")
    pairs = run.read("pairs.parquet", PreferencePair)
    written = [pair.model_copy(update={"origin": "injected"}) if pair.kind == "text" else pair for pair in pairs[1:]]
    run.write("pairs.parquet", PreferencePair, [pairs[0], *written])
    (warning, *_) = report_content(run).parts["drops"].warnings
    assert warning.stage == "curate"
    assert warning.message.startswith("3 of 4 rejected answers were written by the judge")


def test_reliance_shows_both_models_and_their_contrast(content: ReportContent) -> None:
    assert [(row.model, row.lesion.value, row.elsewhere.value) for row in content.parts["reliance"].rows] == [
        ("base", 0.3, 0.2),
        ("tuned", 0.9, 0.1),
    ]
    contrast = content.parts["reliance"].contrast
    assert (contrast.before, contrast.after, contrast.difference.value) == (0.1, 0.8, 0.7)


def test_training_marks_the_kept_adapter_and_draws_what_was_logged(content: ReportContent) -> None:
    assert [(marker.step, marker.kind) for marker in content.parts["training"].markers] == [(20, "best")]
    panels = {
        panel.title: {line.name: line.points for line in panel.series} for panel in content.parts["training"].panels
    }
    assert panels["Validation probe"]["score"][2] == (20, 0.47)
    assert set(panels["Implicit rewards"]) == {"chosen", "rejected"}
    facts = {fact.label: fact.value for fact in content.parts["training"].facts}
    assert facts["Validation probe, %"] == "40.0 at the start, 47.0 at step 20"


def test_a_collapsed_training_is_told_and_no_adapter_is_claimed(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "collapsed", RunSettings())
    del run.manifest.stages["train"]
    run.file("train").mkdir()
    fallen = {"probe_score": 0.2, "probe_logprob_per_token": -4.0, "step": 50}
    run.file("train/log.json").write_text(json.dumps([*preference_log(), fallen]))
    content = report_content(run)
    assert [warning.message for warning in content.parts["drops"].warnings] == [
        "training stopped at step 50 without an adapter: it collapsed or was interrupted",
        "the validation probe ended at 20.0 %, below its start of 40.0 % (best: 47.0 % at step 20): "
        "the learning rate is too high or training too long",
    ]
    assert [(marker.step, marker.kind) for marker in content.parts["training"].markers] == [
        (20, "best"),
        (50, "collapse"),
    ]
    assert content.parts["training"].notes == ("Training did not finish, so this run has no adapter.",)


def test_curation_counts_outcomes_lengths_and_conflicts(content: ReportContent) -> None:
    counts = {item.label: item.count for item in content.parts["curation"].counts}
    assert counts == {"text pairs": 4, "visual pairs": 2, "answers sampled": 18}
    (judge,) = content.parts["curation"].judges
    assert (judge.judge, judge.picked, judge.injected, judge.dropped) == ("contradiction", 4, 1, 1)
    # Chosen is "yes"; rejected has 1, 1 and 4 words (picked) and 4 words (injected).
    lengths = {row.group: (row.n, row.rejected_words, row.rejected_longer) for row in content.parts["curation"].lengths}
    assert lengths == {
        "picked": (3, 2.0, pytest.approx(1 / 3)),
        "injected": (1, 4.0, 1.0),
        "all text pairs": (4, 2.5, 0.5),
    }
    (conflict,) = content.parts["curation"].conflicts
    assert (conflict.error_type, conflict.n, conflict.picked, conflict.injected) == ("presence", 5, 4, 1)
    assert conflict.conflict.value == pytest.approx(0.8)


def test_an_unscored_pair_is_counted_among_the_scores_but_has_no_weight(content: ReportContent) -> None:
    text, visual = content.parts["scores"].sources
    assert text.scores == (0.3, 0.9, 0.6, 0.5, None)
    assert text.weights == (0.75, 1.25, 1.0, 0.9)
    assert (text.at_lower, text.at_upper, text.lower, text.upper) == (0.25, 0.25, 0.75, 1.25)
    assert visual.scores == (0.8, 0.8)
    assert visual.warnings == ("all 2 scores are equal",)


def test_some_debates_are_shown_in_full(content: ReportContent) -> None:
    shown = {debate.pair_id: debate for debate in content.parts["scores"].debates}
    longest, highest = shown["q2/text"] if "q2/text" in shown else shown["q4/text"], shown["q1/text"]
    assert len(longest.turns) == 15
    assert highest.outcome == "consensus in round 2 (shown as the highest score)"
    assert [turn.score for turn in highest.turns] == [0.2, 0.9, 0.9, 0.9]
    (quick,) = set(shown) - {longest.pair_id, "q1/text"}
    assert shown[quick].outcome == "consensus in round 1 (shown as agreed at once)"


def test_groundings_show_pictures_or_say_why_not(content: ReportContent, full: Run) -> None:
    rows = {row.name: row for row in content.parts["groundings"].samples}
    assert set(rows) == {"images/0.png", "images/1.png"}
    assert rows["images/0.png"].noised is not None
    assert rows["images/0.png"].clean != rows["images/0.png"].overlay
    assert (rows["images/0.png"].step, rows["images/0.png"].region) == (700, "lesion")
    assert rows["images/1.png"].noised is None
    assert "missing" in rows["images/1.png"].reason
    assert content.parts["groundings"].note == (
        "2 of 2 training images with a heatmap, drawn with seed 7. 1 more have none and give no visual pair."
    )


def test_pairs_are_mixed_and_carry_the_judges_reason(content: ReportContent) -> None:
    assert content.parts["pairs"].note == "4 of 4 text pairs and 2 of 2 visual pairs, drawn with seed 7."
    assert [sample.pair.kind for sample in content.parts["pairs"].samples][:4] == ["text", "visual", "text", "visual"]
    reasons = {sample.pair.pair_id: sample.wrong for sample in content.parts["pairs"].samples}
    assert reasons["q3/text"] == "judge: injected for q3"
    assert not reasons["q0/visual"]


def test_predictions_keep_the_proportion_of_gains_and_losses(content: ReportContent) -> None:
    changes = [tuple(answer.right for answer in sample.answers) for sample in content.parts["predictions"].samples]
    assert changes == [(True, False)] * 2 + [(False, True)] * 4 + [(True, True)] * 2
    assert content.parts["predictions"].note.startswith(
        "Of 12 questions of test-balanced, the tuned model scores higher on 4, lower on 2 and the same on 6. "
        "Shown: 2 losses, 4 gains, 2 without change, drawn with seed 7 with gains and losses in about this proportion."
    )


def test_hashes_and_configuration_are_enough_to_run_it_again(content: ReportContent, full: Run, tmp_path: Path) -> None:
    assert content.parts["reproduce"].commands == ("mmedpo run by-hand/config.resolved.yaml --name by-hand-again",)
    recipe = tmp_path / "again.yaml"
    recipe.write_text(content.parts["reproduce"].config)
    assert load_settings(recipe) == check_names(full.settings)
    assert [(fact.label, fact.value) for fact in content.parts["reproduce"].hashes] == [
        ("curated.parquet (curate)", "ab" * 32)
    ]


@pytest.mark.long
def test_a_page_of_large_pictures_stays_small(tmp_path: Path) -> None:
    """Noise in three colours, which no PNG makes smaller, at twelve times the side a picture is shown with."""
    run = full_run(tmp_path / "r")
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png", compress_level=1)
    replaced = [*(run.image_root / "images").glob("*.png"), *run.file("images").glob("*.png")]
    for path in replaced:
        path.write_bytes((tmp_path / "large.png").read_bytes())
    size = len(write_report(run).read_bytes())
    assert len(replaced) > 18
    assert 300_000 < size < 10_000_000


def test_an_unchanged_shipped_recipe_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shipped ones it alone is validated: all of them would take longer than the rest of the report."""
    validated: list[str] = []

    def load(recipe: str, overrides: list[str]) -> RunSettings:
        validated.append(recipe)
        return load_settings(recipe, overrides)

    monkeypatch.setattr("mmedpo.report.sections.reproduce.load_settings", load)
    run = empty_run(tmp_path / "seed-3", load_settings("phantom-mmedpo", ["seed=3"]))
    reproduce = report_content(run).parts["reproduce"]
    assert reproduce is not None
    assert reproduce.commands == ("mmedpo run phantom-mmedpo --name seed-3-again --set seed=3",)
    assert validated == ["phantom-mmedpo"]


def test_an_imported_text_only_sft_run_shows_only_what_it_has(tmp_path: Path) -> None:
    run = imported_run(tmp_path / "imported")
    text = page(run)
    for absent in (
        "Lesion reliance",
        "Groundings and noise",
        "Debates in full",
        "Implicit rewards",
        "Scores and weights",
        "nan",
    ):
        assert absent not in text
    assert "pairs.json (format told from its columns)" in text
    assert "SFT on the chosen answers, no reference" in text
    assert "none, every pair weighs 1 and no score is used" in text
    assert "4 of 4 text pairs, drawn with seed 0." in text
    content = report_content(run)
    assert [(warning.stage, warning.message) for warning in content.parts["drops"].warnings][:1] == [
        ("train", "no look at the validation probe was better than the start: expect no gain"),
    ]
    assert [(item.label, item.count, item.note) for item in content.parts["curation"].counts] == [
        ("text pairs", 4, "imported")
    ]


def test_a_run_without_anything_claims_nothing(tmp_path: Path) -> None:
    text = page(empty_run(tmp_path / "new", RunSettings()))
    assert "No evaluation is stored in this run, so nothing is claimed." in text


def test_a_moved_dataset_costs_the_pictures_not_the_report(tmp_path: Path) -> None:
    run = full_run(tmp_path / "moved")
    run.file("data").rename(tmp_path / "elsewhere")
    content = report_content(run)
    assert all(sample.image is None for sample in content.parts["predictions"].samples)
    assert all("missing" in row.reason for row in content.parts["groundings"].samples)
    assert "closed accuracy rose" in page(run)


def test_pictures_never_come_from_outside_the_run(tmp_path: Path) -> None:
    run = full_run(tmp_path / "runs")
    (tmp_path / "secret.png").write_bytes(run.file("data/images/0.png").read_bytes())
    source = run.read("examples.parquet", Example)[0]
    stolen = visual_pair(source, 1.0).model_copy(update={"rejected_image_path": "../secret.png"})
    run.write("pairs.parquet", PreferencePair, [stolen])
    (sample,) = report_content(run).parts["pairs"].samples
    assert sample.rejected_image is None
    assert "outside" in sample.wrong


@pytest.mark.parametrize("damage", ["{", '{"protocol": "strict"}'])
def test_a_damaged_evaluation_is_one_clear_line(tmp_path: Path, damage: str) -> None:
    run = full_run(tmp_path / "run")
    run.file("evaluation.json").write_text(damage)
    with pytest.raises(RunFolderError, match=r"evaluation\.json"):
        write_report(run)


def test_the_report_is_the_same_every_time(full: Run) -> None:
    assert write_report(full).read_bytes() == write_report(full).read_bytes()


@given(st.integers(0, 500), st.integers(0, 500), st.integers(2, 12))
def test_places_follow_the_proportion(rose: int, fell: int, places: int) -> None:
    gains, losses = proportional(rose, fell, places)
    assert gains + losses == min(places, rose + fell)
    assert gains <= rose
    assert losses <= fell
    assert (gains > 0) == (rose > 0)
    assert (losses > 0) == (fell > 0)
    if min(gains, losses) > 1:
        assert abs(gains - places * rose / (rose + fell)) <= 0.5 or rose + fell <= places


class Scripted:
    """An agent that says what it is told, then agrees."""

    def __init__(self, name: str, said: list[float | None]) -> None:
        self.name, self.said = name, list(said)

    def first(self, case: Case) -> Opinion:
        score = self.said.pop(0) if self.said else 0.5
        return Opinion("abstain", None, "") if score is None else Opinion("rescore", score, "")

    def respond(self, case: Case, history: typing.Sequence[Turn]) -> Opinion:
        return self.first(case) if self.said else Opinion("agree", None, "")


@given(st.lists(st.lists(st.sampled_from([None, 0.2, 0.5, 0.8]), max_size=4), min_size=1, max_size=3))
def test_consensus_is_read_off_the_turns_as_the_debate_decided_it(said: list[list[float | None]]) -> None:
    agents = [Scripted(f"agent {number}", script) for number, script in enumerate(said)]
    result = debate(agents, Case(pair_id="p", question="q", truth="yes", rejected="no"), rounds=3)
    assert consensus(result.turns, len(agents)) == result.consensus


def test_abstentions_are_no_consensus() -> None:
    assert not consensus(turns("p", [0.5, 0.5, None]), 3)
    assert consensus(turns("p", [0.5, None, 0.5, 0.5, 0.5]), 3)


def test_the_best_step_is_the_one_training_keeps() -> None:
    from mmedpo.records.looks import best_look, watch_log

    kept = best_look(watch_log(preference_log()))
    assert kept is not None
    assert best_step(preference_log()) == kept["step"] == 20
    assert best_step(preference_log()[:1]) is None


def test_every_weighting_of_the_settings_is_known() -> None:
    modes = typing.get_args(ScoreSettings.model_fields["weights"].annotation)
    assert len({weighting(ScoreSettings(weights=mode)) for mode in modes}) == len(modes)


def test_a_report_needs_no_torch() -> None:
    code = "import sys, mmedpo.report.gather; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({}, "weighted DPO, beta 0.1"),
        ({"method": "sft"}, "SFT on the chosen answers, no reference"),
        (
            {"objective": [{"loss": "ipo", "beta": 0.5, "kinds": ["text"]}, {"loss": "nll", "weight": 0.2}]},
            "ipo (beta 0.5) on text pairs + 0.2 × nll",
        ),
    ],
)
def test_the_objective_is_told_as_it_was(train, said):
    from mmedpo.config import TrainSettings

    assert objective(TrainSettings.model_validate(train)) == said


def test_what_was_trained_is_told_as_it_was():
    from mmedpo.config import TrainSettings

    assert trained(TrainSettings()) == "LoRA r = 128, alpha = 256, on the language model"
    full = TrainSettings.model_validate({"tune": "full", "parts": ["language_model", "projector"]})
    assert trained(full) == "all weights of the language model and projector"
