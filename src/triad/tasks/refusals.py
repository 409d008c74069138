"""Tasks that cannot work."""

from triad.config.offers import get_declared
from triad.config.refusals import Impossible


def moves_source_beside_target(config: dict) -> bool:
    """Whether an augmentation that moves tokens gets rows in which a source and its target stand together."""
    predicts = get_declared(config["task"], "predicts")
    augment = config.get("augment")  # "none" among choices that are tried as a remedy
    needs = get_declared(augment, "needs") if isinstance(augment, dict) else None
    asked = (needs or {}).get("task.predicts", ())
    return predicts in asked and predicts != "a label" and get_declared(config["model"], "sees") == "past"


TABLE = [
    Impossible(
        "programs are not run while training",
        "task=code task.generated=1",
        lambda c: get_declared(c["task"], "predicts") == "a program" and c["task"].get("generated"),
        "task.generated={task[generated]}: programs are run by their tests in `triad evaluate`, not while "
        "training: use task.generated=0",
    ),
    Impossible(
        "tokens that are predicted do not move",
        "task=translation data=parallel data.source=a data.target=b data/augment=word_swap",
        moves_source_beside_target,
        "a model of the past has the source and what is to be predicted in one row, in which tokens cannot "
        "be moved: use model=encoder_decoder, or data/augment=token_dropout",
    ),
    Impossible(
        "a document is pooled once",
        "task=classification data=packages model=encoder "
        "model.pooler={_target_:triad.layers.bert_head.Pooler,_partial_:true} "
        "task.pool={_target_:triad.layers.pooling.first,_partial_:true}",
        lambda c: c["task"].get("pool") and c["model"].get("pooler") is not None,
        "task.pool and model.pooler both make one vector of a document: set one of them to null",
    ),
]
