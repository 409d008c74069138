"""Texts from a trained model, as `triad generate` writes them and as `model.generate` returns them."""

from collections.abc import Iterator, Sequence
from typing import Any

from triad.api.recipe import choose_recipe
from triad.config.build import build
from triad.decoding.answers import Answer, Answers, Prompt


class Generation:
    """`model.generate` of a model that triad.load gives: it answers prompts as its run's recipe says."""

    def __init__(self, model: Any, tokenizer: Any, task: Any, config: dict[str, Any]) -> None:
        self.model, self.tokenizer, self.task = model, tokenizer, task
        self.recipe, self.context = config.get("decoding"), config["context"]

    def __call__(
        self,
        prompts: str | Sequence[str],
        tokens: int | None = None,
        *,
        n: int = 1,
        seed: int = 0,
        stop: Sequence[str] = (),
        allow: Sequence[int | str] = (),
        ban: Sequence[int | str] = (),
        regex: str | None = None,
        batch_size: int = 16,
        **recipe: Any,
    ) -> Any:
        """The text that follows each prompt, or with n above 1 a list of texts; of one prompt only its own.

        At most `tokens` are written, up to the first of the strings `stop`. `recipe` changes how the run
        decodes: temperature, top_k, top_p, min_p, repetition_penalty, beams, length_penalty. What is drawn
        for a prompt follows from `seed` and its number. `allow`, `ban` and `regex` restrict the text, see
        triad.decoding.constraints. Raises ValueError for a prompt that is too long.
        """
        alone = isinstance(prompts, str)
        decoding = build({"decoding": choose_recipe(self.recipe, recipe, n)})["decoding"]
        stop = [stop] if isinstance(stop, str) else stop
        restricted = {"tokens": tokens, "stop": stop, "allow": allow, "ban": ban, "regex": regex}
        answers = Answers([self.model], self.tokenizer, self.task, decoding, self.context, **restricted)
        asked = [prompts] if alone else prompts
        read = [answers.read(text, f"prompt {number}") for number, text in enumerate(asked)]
        found: list[Any] = [None] * len(read)
        for places, batch in decode_in_batches(answers, read, seed, n, batch_size):
            for place, texts in zip(places, batch, strict=True):
                found[place] = [one.text for one in texts] if n > 1 else texts[0].text
        return found[0] if alone else found


def decode_in_batches(
    answers: Answers, prompts: Sequence[Prompt], seed: int, n: int, batch_size: int
) -> Iterator[tuple[list[int], list[list[Answer]]]]:
    """The answers to all prompts in batches of like lengths, each with the numbers of its prompts."""
    order = sorted(range(len(prompts)), key=lambda at: -len(prompts[at].source or prompts[at].tokens))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        yield places, answers.decode([prompts[at] for at in places], [seed + at for at in places], n)
