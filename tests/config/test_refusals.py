"""Every row of the table of impossible combinations refuses what it names, in a sentence."""

import pytest

from triad.config.compose import compose
from triad.config.refusals import TABLE

TWO = "trainer.devices=2 trainer.accelerator=cpu"
MESH = f"strategy=mesh {TWO}"
LABELS = "task=classification data=packages"
ALL_HEADS = "model.attention.query_key_norm._target_=triad.layers.norm.AllHeadsRMSNorm"
EXAMPLES = {
    "a device is counted, not named": "trainer.devices=[1]",
    "only CPUs and NVIDIA GPUs are known": "trainer.accelerator=tpu",
    "schedules need to know how long the run is": "trainer.max_steps=-1",
    "an epoch of Lightning's would start the data again": "+trainer.limit_train_batches=3",
    "python train.py starts processes on its own machine only": "trainer.num_nodes=2",
    "one process cannot use several devices": "trainer.devices=2",
    "more GPU processes than GPUs": "strategy=ddp trainer.accelerator=gpu trainer.devices=99",
    "the degrees of a mesh multiply to the number of processes": f"{MESH} strategy.tensor=3",
    "an encoder sees the tokens that follow": "model=encoder",
    "an encoder-decoder reads a source": "model=encoder_decoder",
    "hidden tokens are found from both sides": "task=masked_lm",
    "a pooler has no part in finding hidden tokens": (
        "model=encoder task=masked_lm model.pooler={_target_:triad.layers.bert_head.Pooler,_partial_:true}"
    ),
    "a source is read by an encoder and told by a decoder": "task=copy",
    "a translation is of parallel text, and parallel text is for translation": (
        "model=encoder_decoder task=translation"
    ),
    "a label is learned from labelled documents, and they are for nothing else": "task=classification",
    "an n-gram never sees a whole document": f"{LABELS} model=mlp",
    "a document is pooled once": (
        f"{LABELS} model=encoder model.pooler={{_target_:triad.layers.bert_head.Pooler,_partial_:true}} "
        "task.pool={_target_:triad.layers.pooling.first,_partial_:true}"
    ),
    "a document is pooled where it was read": f"{LABELS} strategy=tensor {TWO}",
    "attention to both sides is not cut over processes": (
        f"model=encoder task=masked_lm strategy=tensor {TWO}"
    ),
    "only attention and feed-forward layers can be cut into slices": f"strategy=tensor model=lstm {TWO}",
    "each slice of attention holds whole heads": "strategy=tensor trainer.devices=3",
    "each slice of attention holds whole key-value heads": (
        "strategy=tensor trainer.devices=4 model.attention.kv_heads=2"
    ),
    "a norm over all heads needs all of them": (
        f"strategy=tensor {ALL_HEADS} +model.attention.query_key_norm.heads=4 {TWO}"
    ),
    "each slice of a feed-forward layer holds as many hidden units": (
        f"strategy=tensor {TWO} model.feedforward.hidden=511"
    ),
    "sequence parallelism lies between slices of matrices": "strategy=mesh strategy.sequence_parallel=true",
    "time is cut once": (
        "strategy=mesh strategy.sequence_parallel=true strategy.context=2 strategy.tensor=2 trainer.devices=4"
    ),
    "stretches of time are of one length": (
        f"strategy=tensor strategy.sequence_parallel=true context=31 {TWO}"
    ),
    "experts are spread where there are experts": f"strategy=expert {TWO}",
    "rows travel to experts of SwiGLU": (
        f"strategy=expert {TWO} model=moe "
        "model.feedforward.expert={_target_:triad.layers.relu_experts.ReLUExperts,_partial_:true}"
    ),
    "a causal model does not see the future": "model=moe router=expert_choice",
    "the room of an expert is counted along a whole sequence": (
        f"strategy=context {TWO} model=moe router=switch"
    ),
    "the tokens stay with a pipeline's first stage": f"strategy=pipeline {TWO} model=moe router=hash",
    "each process holds as many experts": "strategy=expert model=moe trainer.devices=3",
    "a state is carried through the whole sequence, and whole": f"strategy=context model=hybrid {TWO}",
    "a recurrent model reads a sequence from its beginning": f"strategy=context model=lstm {TWO}",
    "each process holds two chunks of a sequence": f"strategy=context context=30 {TWO}",
    "a pipeline needs blocks to spread": f"strategy=pipeline model=lstm {TWO}",
    "a schedule has a name": f"strategy=pipeline strategy.schedule=foo {TWO}",
    "each stage of a pipeline has something to do": "strategy=pipeline trainer.devices=8",
    "a backward pass in two halves cannot be compiled": (
        f"strategy=pipeline strategy.schedule=zbv hardware.compile=true {TWO}"
    ),
    "a tied embedding is sharded once": (
        "strategy=mesh strategy.pipeline=2 strategy.schedule=zbv model=gpt2 trainer.devices=4"
    ),
    "torch's fused SGD knows whole weights only": f"strategy=fsdp optimizer=sgd {TWO}",
    "DeepSpeed is a package of its own": f"strategy=deepspeed {TWO}",
    "ZeRO has three stages": f"strategy=deepspeed strategy.stage=4 {TWO}",
    "ZeRO keeps fp32 weights": f"strategy=deepspeed precision=bf16-true {TWO}",
    "ZeRO updates flat slices of weights": f"strategy=deepspeed optimizer=adagrad {TWO}",
    "an average that the optimizer keeps": "optimizer=schedule_free ~callbacks.averaged",
    "weights leave the GPU when they are kept in parts": (
        f"strategy=deepspeed strategy.offload_parameters=true {TWO}"
    ),
    "the hooks of ZeRO 3 cannot be compiled": (
        f"strategy=deepspeed strategy.stage=3 hardware.compile=true {TWO}"
    ),
    "ZeRO 3 shows nobody whole weights": (
        f"strategy=deepspeed strategy.stage=3 callbacks=[default,ema] {TWO}"
    ),
    "ZeRO 3 keeps no mean of weights": (f"strategy=deepspeed strategy.stage=3 callbacks=[default,swa] {TWO}"),
    "one average is validated": "callbacks=[default,ema,swa]",
    "DeepSpeed clips by norm": f"strategy=deepspeed clip=role {TWO}",
    "DeepSpeed lets nobody add to its gradients": f"strategy=deepspeed regularizer=l1 {TWO}",
    "DeepSpeed lets nobody look at its gradients before its step": (
        f"strategy=deepspeed callbacks=[default,gradient_check] {TWO}"
    ),
    "weights decay for one reason": "regularizer=l2",
    "a role has a name": "decay=[matrices]",
    "muP's learning rates are for Adam": "parametrisation=mup optimizer=sgd",
    "muP wants a head of its own": "parametrisation=mup model.tied=true",
    "every data-parallel rank needs the same number of rows": "strategy=ddp trainer.devices=3",
    "a step without rows": "batch.size=0",
    "one row is one": "batch=one debug=tiny",
    "every data-parallel rank needs the same number of rows, however many there are": (
        f"strategy=ddp {TWO} batch=ramp batch.start=1 batch.increment=1"
    ),
    "a batch that grows behind the end of the run": "batch=staged batch.then=[[2000,16]]",
    "a whole training set does not go through a model at once": "batch=full",
    "rows in order of length come in batches of one size": (
        "model=encoder_decoder task=translation data=parallel data.source=a batch=ramp"
    ),
    "a context without tokens": "context=0",
    "fp16 needs the units of a GPU": "precision=fp16-mixed trainer.accelerator=cpu",
    "a loss scaler sees only the shards of its own process": "strategy=fsdp precision=fp16-mixed",
    "fp8 needs a GPU that has it": "precision=fp8 trainer.accelerator=cpu",
    "fp8 products come from torchao": "precision=fp8",
    "fp8 products and split matrices": f"strategy=tensor precision=fp8 {TWO}",
    "a warm-up longer than the run": "scheduler.warmup=5000",
    "a decay longer than the run": "scheduler.decay=200",
    "a rate that rises and falls at once": "scheduler.warmup=600",
    "a cycle longer than the run": "scheduler=cyclic scheduler.period=5000",
    "TensorBoard is a package of its own": "logger=tensorboard",
    "an artifact is uploaded": "logger.wandb.artifacts=true logger.wandb.mode=offline",
    "a plateau is seen by validating": "scheduler=plateau trainer.limit_val_batches=0",
}


def test_every_row_has_an_example() -> None:
    assert {row.why for row in TABLE} == EXAMPLES.keys()


@pytest.mark.parametrize("why", EXAMPLES)
def test_what_is_impossible_is_refused_with_a_sentence(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from triad.config.refusals import refusals

    monkeypatch.setattr("triad.config.compose.refusals", lambda _: [])
    monkeypatch.setattr("triad.config.refusals.find_spec", lambda _: None)  # no optional package is installed
    config = compose(EXAMPLES[why].split())
    row = next(row for row in TABLE if row.why == why)
    assert row.holds(config)
    sentences = []
    for sentence in refusals(config):
        sentences.append(sentence)
        if sentence.startswith(row.sentence.partition("{")[0]):
            break
    assert sentences[-1].startswith(row.sentence.partition("{")[0])
    assert "{" not in sentences[-1]
