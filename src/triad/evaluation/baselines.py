"""What needs no neural model: predictions to stand beside those of a trained one, in the same form.

A baseline is made of the training split, and predicts for each example of another; which there are follows
from what the task predicts. C labels, V words.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"(?<=[.!?])\s+")
LEADS = (1, 3)  # sentences
Example = dict[str, Any]
Predict = Callable[[Example], Any]


def make_baselines(task: Any, training: Callable[[], Iterable[Example]]) -> Iterator[tuple[str, Predict]]:
    """Names of baselines, and functions from an example to a prediction; `training` reads its examples."""
    match task.predicts:
        case "a label" | "a grade":
            yield "majority", predict_majority(task, training())
            yield "naive Bayes", NaiveBayes(task, training())
        case "tags":
            yield "most frequent tag", MostFrequentTag(training())
        case "an answer":
            yield "lead-1", lambda example: lead(example["context"], 1)
        case "a sequence":
            yield "copy", find_source
            for sentences in LEADS:
                yield f"lead-{sentences}", lambda example, k=sentences: lead(find_source(example), k)


def find_source(example: Example) -> str:
    """The text that a target is made from: its draft, if it has one; of a dialogue the last message."""
    if "messages" in example:
        return example["messages"][-2]["content"] if len(example["messages"]) > 1 else ""
    return example.get("draft", example.get("source", example.get("text", "")))


def lead(text: str, sentences: int) -> str:
    """The first sentences of a text, which end with a mark of punctuation before a blank."""
    return " ".join(SENTENCE.split(text.strip(), maxsplit=sentences)[:sentences])


def predict_majority(task: Any, training: Iterable[Example]) -> Predict:
    """The shares of the labels in training, whatever the text is."""
    counts = Counter(task.references(example)[0] for example in training)
    shares_C = np.array([counts[label] for label in range(len(task.labels))], float)
    shares_C /= shares_C.sum()
    return lambda example: shares_C


class NaiveBayes:
    """Multinomial naive Bayes over lower-cased words, with Laplace's smoothing.

        p(c | x) ~ p(c) prod_w p(w | c)^{n_w(x)},   p(w | c) = (n_cw + 1) / (sum_v n_cv + V)
        Manning, Raghavan and Schütze 2008, Introduction to Information Retrieval, section 13.2

    Words that training lacks are passed over. The text is what the task's row has of it: of one that is cut
    to the context, the same beginning that a model reads.
    """

    def __init__(self, task: Any, training: Iterable[Example]) -> None:
        self.task, labels = task, len(task.labels)
        counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(labels))
        documents_C = np.zeros(labels)
        for example in training:
            label = task.references(example)[0]
            documents_C[label] += 1
            for word in self._read_words(example):
                counts[word][label] += 1
        self.places = {word: place for place, word in enumerate(counts)}
        counts_VC = np.stack([*counts.values()]) if counts else np.zeros((0, labels))
        with np.errstate(divide="ignore"):  # of a label without an example
            self.prior_C = np.log(documents_C / documents_C.sum())
        self.words_VC = np.log((counts_VC + 1) / (counts_VC.sum(0) + len(counts)))

    def __call__(self, example: Example) -> np.ndarray:
        places = [self.places[word] for word in self._read_words(example) if word in self.places]
        log_p_C = self.prior_C + self.words_VC[places].sum(0)
        p_C = np.exp(log_p_C - log_p_C.max())
        return p_C / p_C.sum()

    def _read_words(self, example: Example) -> list[str]:
        (row,) = self.task.encode(example)
        tokenizer = self.task.tokenizer
        text = tokenizer.decode([token for token in row["tokens_BT"] if token < tokenizer.vocab_size])
        return WORD.findall(text.lower())


class MostFrequentTag:
    """The tag that a word has most often in training; of an unknown word the most frequent of all."""

    def __init__(self, training: Iterable[Example]) -> None:
        by_word: dict[str, Counter[str]] = defaultdict(Counter)
        for example in training:
            for word, tag in zip(example["words"], example["tags"], strict=True):
                by_word[word][tag] += 1
        total = sum(by_word.values(), Counter())
        self.usual = total.most_common(1)[0][0]
        self.tags = {word: tags.most_common(1)[0][0] for word, tags in by_word.items()}

    def __call__(self, example: Example) -> list[str]:
        return [self.tags.get(word, self.usual) for word in example["words"]]
