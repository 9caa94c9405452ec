"""From what curation settled to preference pairs (METHOD section 1: D_t and D_v)."""

from __future__ import annotations

from mmedpo.errors import CurationError
from mmedpo.records import Example, Grounding, NoiseSpec, PreferencePair, Verdict


def text_pair(example: Example, verdict: Verdict) -> PreferencePair:
    """Ground truth (or the answer the judge prefers) over the dispreferred one, same image; unscored until the debate.

    Raises:
        CurationError: the verdict dropped the question or speaks of another one.
    """
    if verdict.example_id != example.example_id:
        raise CurationError(f"verdict on {verdict.example_id!r} offered for {example.example_id!r}; join by example_id")
    if verdict.outcome == "dropped":
        raise CurationError(
            f"{example.example_id!r} was dropped ({verdict.reason}); only picked or injected make a pair"
        )
    return PreferencePair(
        pair_id=f"{example.example_id}/text",
        example_id=example.example_id,
        kind="text",
        image=example.image,
        other_images=example.other_images,
        question=verdict.question or example.question,
        chosen=verdict.chosen or example.answer,
        rejected=verdict.rejected,
        error_type=verdict.error_type,
        origin="self-asked" if verdict.question else verdict.outcome,
        unscored_reason="not debated yet",
    )


def answer_pair(example: Example) -> PreferencePair:
    """The ground truth alone: nothing is rejected, and there is nothing to score."""
    return PreferencePair(
        pair_id=f"{example.example_id}/answer",
        example_id=example.example_id,
        kind="answer",
        image=example.image,
        other_images=example.other_images,
        question=example.question,
        chosen=example.answer,
        rejected="",
        error_type=example.error_type,
        unscored_reason="nothing is rejected",
    )


def visual_pair(
    example: Example, grounding: Grounding | None, noise: NoiseSpec, noised_path: str, answer: str = ""
) -> PreferencePair:
    """The same answer to the clean image over the noised one; the tool's confidence is the raw score.

    Args:
        example: the question.
        grounding: of one of its images, which is the noised one, the others stay; None where no tool marked any, for
            noise that concerns the whole image: then it is the first.
        noise: how the image was noised.
        noised_path: the noised view, relative to the run folder.
        answer: the answer on both sides; empty: the ground truth.

    Raises:
        CurationError: the grounding speaks of another image.
    """
    shown = [image.sha256 for image in example.images]
    if grounding is not None and grounding.image_sha256 not in shown:
        raise CurationError(
            f"grounding of image {grounding.image_sha256[:12]} offered for {example.example_id!r}, "
            f"whose image is {example.image.sha256[:12]}; join groundings by image_sha256"
        )
    said = answer or example.answer
    score = grounding.confidence if grounding is not None else None
    unscored = "no tool marked the image" if grounding is None else grounding.reason or "the tool gives no confidence"
    return PreferencePair(
        pair_id=f"{example.example_id}/visual",
        example_id=example.example_id,
        kind="visual",
        image=example.image,
        other_images=example.other_images,
        question=example.question,
        chosen=said,
        rejected=said,
        rejected_noise=noise,
        rejected_image_path=noised_path,
        noised_image=0 if grounding is None else shown.index(grounding.image_sha256),
        error_type=example.error_type,
        origin=noise.kind if grounding is None else grounding.tool,
        score=score,
        score_source=grounding.tool if grounding is not None and score is not None else "",
        unscored_reason="" if score is not None else unscored,
    )
