"""Answers that other programs made, joined to the questions they answer. Pure.

By id where the file has ids that are the data's; else by image and question; else by question and truth. A row that
says of its question what the data contradict is an error, and so is one that fits none or several: a score of
answers to other questions looks like any other score.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from pathlib import PurePosixPath
from typing import NamedTuple

from mmedpo.errors import EvaluationError, listed, shown
from mmedpo.evaluate.given import GivenAnswer
from mmedpo.records import Example, Prediction


class Joined(NamedTuple):
    """The answers by question, and how they were joined."""

    predictions: list[Prediction]
    notes: list[str]


def join_answers(
    examples: Sequence[Example],
    asked: Sequence[str],
    given: Sequence[GivenAnswer],
    model: str,
    questions: Mapping[str, GivenAnswer] | None = None,
) -> Joined:
    """The answer to every asked question.

    Args:
        examples: all questions of the data.
        asked: ids of those that are evaluated; answers to others are counted and left out.
        given: rows of the file, in its order.
        model: name of the column.
        questions: what a question file says, by the id that `given` uses; None without one.

    Raises:
        EvaluationError: rows that fit no question or contradict theirs; questions answered twice or not at all.
    """
    if questions is not None:
        given = [_completed(answer, questions) for answer in given]
    evaluated = set(asked)
    by_id = _by_id(examples, given)
    found, way = (by_id, "id") if by_id is not None else _by_content(examples, evaluated, given)
    joined = [
        (number, answer, example)
        for number, (answer, example) in enumerate(zip(given, found, strict=True))
        if example is not None and example.example_id in evaluated
    ]
    contradicted = [
        f"row {number} ({shown(example.example_id)})"
        for number, answer, example in joined
        if not _agree(answer, example)
    ]
    _refuse(model, "row(s) ask another question than the data under the same id", contradicted)
    times = Counter(example.example_id for _, _, example in joined)
    _refuse(model, "question(s) are answered more than once", [shown(name) for name, n in times.items() if n > 1])
    _refuse(model, "question(s) have no answer", [shown(name) for name in asked if name not in times])
    notes = [f"answers of {model}: {len(joined)} joined by {way}"]
    if len(joined) < len(given):
        notes.append(f"answers of {model}: {len(given) - len(joined)} to questions that are not evaluated, left out")
    answers = [
        Prediction(example_id=example.example_id, model=model, text=answer.text) for _, answer, example in joined
    ]
    return Joined(answers, notes)


def _completed(answer: GivenAnswer, questions: Mapping[str, GivenAnswer]) -> GivenAnswer:
    """The row with what the question file says of its id, which is that file's own."""
    known = questions.get(answer.id)
    if known is None:
        raise EvaluationError(
            f"the question file has no id {shown(answer.id)}; give the one the answers were made from"
        )
    return known._replace(text=answer.text, id="")


def _by_id(examples: Sequence[Example], given: Sequence[GivenAnswer]) -> Sequence[Example | None] | None:
    """By the run's own ids, or by the dataset's; None where the rows have neither.

    Raises:
        EvaluationError: some rows have such an id, others do not; of the dataset's, which may be positions, most.
    """
    own = {example.example_id: example for example in examples}
    published = _unique(examples, lambda example: example.example_id.removeprefix(f"{example.dataset}-"))
    for table in (own, published):
        found = [table.get(answer.id) or table.get(_whole(answer.id)) for answer in given]
        known = [(answer, example) for answer, example in zip(given, found, strict=True) if example is not None]
        # Positions look like ids: they are none where the rows tell other questions.
        if table is not own and not all(_agree(answer, example) for answer, example in known):
            continue
        if len(known) == len(given):
            return found
        if known and (table is own or 2 * len(known) >= len(given)):
            lost = [n for n, example in enumerate(found) if example is None]
            named = [shown(given[n].id) if given[n].id else f"row {n} (none)" for n in lost]
            raise EvaluationError(
                f"{len(lost)} row(s) have an id that the data do not: {listed(named)}; check the file"
            )
    return None


def _whole(name: str) -> str:
    """`7` for `7.0`, as tables spell whole numbers in a column that has a gap."""
    number, dot, zeros = name.partition(".")
    return number if dot and number.isdigit() and not zeros.strip("0") else name


def _by_content(
    examples: Sequence[Example], asked: Set[str], given: Sequence[GivenAnswer]
) -> tuple[Sequence[Example | None], str]:
    """By image and question where all rows name an image, else by truth and question; None: not evaluated."""
    bare = [shown(answer.id) for answer in given if not answer.question]
    if bare:
        raise EvaluationError(
            f"{len(bare)} row(s) have neither a question nor an id of the data: {listed(bare)}; "
            "give the question file that the ids belong to (evaluate.answers.NAME.questions)"
        )
    if all(answer.image for answer in given):
        of_data = [(_file(example.image.path), _plain(example.question)) for example in examples]
        keys = _asked(of_data, [(_file(answer.image), _plain(answer.question)) for answer in given])
        return _matched(examples, of_data, asked, given, keys), "image and question"
    of_data = [(_plain(example.answer), _plain(example.question)) for example in examples]
    keys = _asked(of_data, [(_plain(answer.truth), _plain(answer.question)) for answer in given])
    way = "question and truth, equal ones in the order of the data"
    return _matched(examples, of_data, asked, given, keys), way


Key = tuple[str, str]


def _asked(of_data: Sequence[Key], prompts: Sequence[Key]) -> list[Key]:
    """Image (or truth) and question of every prompt: the longest such question that it holds, else the whole prompt.

    Scripts put instructions around questions ("Please choose from the following two options").
    """
    of_first: dict[str, set[str]] = defaultdict(set)
    for first, question in of_data:
        of_first[first].add(question)
    longest_first = {first: sorted(questions, key=len, reverse=True) for first, questions in of_first.items()}

    @cache
    def asked(first: str, prompt: str) -> str:
        if prompt in of_first[first]:
            return prompt
        return next((question for question in longest_first.get(first, ()) if question in prompt), prompt)

    return [(first, asked(first, prompt)) for first, prompt in prompts]


def _matched(
    examples: Sequence[Example],
    of_data: Sequence[Key],
    asked: Set[str],
    given: Sequence[GivenAnswer],
    keys: Sequence[Key],
) -> list[Example | None]:
    """Every row's question; rows with equal keys take the evaluated questions with that key one after another."""
    table: dict[Key, list[Example]] = defaultdict(list)
    for example, key in zip(examples, of_data, strict=True):
        if example.example_id in asked:
            table[key].append(example)
    others = set(of_data) - table.keys()
    unknown = [shown(a.question) for a, key in zip(given, keys, strict=True) if key not in table and key not in others]
    if unknown:
        raise EvaluationError(f"{len(unknown)} row(s) fit no question of the data: {listed(unknown)}; check the file")
    rows = Counter(keys)
    # More answers than questions, or fewer: which one answers which cannot be told.
    torn = [shown(table[key][0].example_id) for key, n in rows.items() if key in table and n != len(table[key])]
    if torn:
        raise EvaluationError(
            f"{len(torn)} question(s) stand another number of times in the file than in the data: {listed(torn)}; "
            "give a file with ids"
        )
    waiting = {key: iter(questions) for key, questions in table.items()}
    return [next(waiting[key]) if key in waiting else None for key in keys]


def _agree(answer: GivenAnswer, example: Example) -> bool:
    """Whether the row asks the example's question, as far as it says; a prompt may hold more than the question."""
    return not answer.question or _plain(example.question) in _plain(answer.question)


def _unique(examples: Sequence[Example], key: Callable[[Example], str]) -> dict[str, Example]:
    times = Counter(key(example) for example in examples)
    return {key(example): example for example in examples if times[key(example)] == 1}


def _plain(text: str) -> str:
    """Letters and digits alone, lower case: scripts change spaces and marks."""
    return "".join(sign for sign in text.casefold() if sign.isalnum())


def _file(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).name.casefold()


def _refuse(model: str, what: str, items: Sequence[str]) -> None:
    if items:
        raise EvaluationError(f"answers of {model}: {len(items)} {what}: {listed(items)}; check the file")
