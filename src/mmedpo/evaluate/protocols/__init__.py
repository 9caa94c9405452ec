"""Named ways to score one answer, one file each: `score(example, text) -> Judgement`.

A protocol sees one answer at a time; joining predictions to examples is done, by id, in
`mmedpo.evaluate.scoring`. docs/protocols.md shows where they disagree.
"""

from mmedpo.evaluate.protocols.judgement import AnswerProtocol, Judgement

__all__ = ["AnswerProtocol", "Judgement"]
