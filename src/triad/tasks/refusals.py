"""Tasks that cannot work."""

from triad.config.refusals import Impossible

TABLE = [
    Impossible(
        "a document is pooled once",
        "task=classification data=packages model=encoder "
        "model.pooler={_target_:triad.layers.bert_head.Pooler,_partial_:true} "
        "task.pool={_target_:triad.layers.pooling.first,_partial_:true}",
        lambda c: c["task"].get("pool") and c["model"].get("pooler") is not None,
        "task.pool and model.pooler both make one vector of a document: set one of them to null",
    ),
]
