"""Sources that are completed by what a search finds."""

from functools import cached_property

from triad.data.passages import Passages, cut_passages, read_passages
from triad.layers.ranges import PositiveInt
from triad.storage.manifest import fingerprint
from triad.tasks.pairs import Sides


class Retrieval:
    """A question, and the `top_k` passages that BM25 finds for it, as source of the answer.

        source = question, passage 1, ..., passage k, the best first

    as Lewis et al. 2020, arXiv:2005.11401, in one sequence, where they sum over passages. `passages` is a
    folder of texts; null searches the example's own context. A passage has `passage_words` words. The target
    is the first of the answers, and empty where there is none.
    """

    needs = {"data.yields": ("questions",)}
    dividers = 1  # words that stand between the texts of a source

    def __init__(self, passages: str | None, top_k: PositiveInt, passage_words: PositiveInt) -> None:
        self.folder, self.top_k, self.passage_words = passages, top_k, passage_words
        self.context, self.of_context = "", Passages([])  # the last one: several questions have the same

    @cached_property
    def passages(self) -> Passages | None:
        return Passages(read_passages(self.folder, self.passage_words)) if self.folder else None

    @property
    def contents(self) -> str | None:
        """A hash of what rows follow from beside the examples."""
        return fingerprint(self.passages.texts) if self.passages else None

    def __call__(self, example: dict) -> Sides:
        question = example["question"]
        passages = self.passages or self._divide(example["context"])
        answers = [answer["text"] for answer in example["answers"]]
        return Sides([question, *passages.find(question, self.top_k)], next(iter(answers), ""), answers)

    def _divide(self, context: str) -> Passages:
        if context != self.context:
            self.context, self.of_context = context, Passages(cut_passages(context, self.passage_words))
        return self.of_context
