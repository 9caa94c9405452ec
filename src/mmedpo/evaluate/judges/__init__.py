"""Who scores the answers of the compared models by asking a language model, one file each."""

from mmedpo.evaluate.judges.judge import AnswerJudge, Marks

__all__ = ["AnswerJudge", "Marks"]
