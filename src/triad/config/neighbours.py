"""What people type who come from other programs, and the words for it here.

lightning-hydra-template, nanoGPT, litgpt, Hugging Face's Trainer, torchtitan, Megatron-LM and torchrun. Each
row has the words for it here and theirs, without dashes. `{}` is the value that was typed, `<...>` what the
person knows. A test composes every word that is named here, and refuses a row for what is a word here.
"""

from collections.abc import Iterable
from functools import cache

# a key, alone or behind those of any group: model.n_layer, training.seq_len
KEYS = {
    # sizes of a model
    "model.depth={}": "n_layer n_layers num_layers num_hidden_layers",
    "model.width={}": "n_embd d_model dim hidden_size hidden_dim embed_dim embedding_dim",
    "model.attention.heads={}": "n_head n_heads num_heads num_attention_heads nhead",
    "model.attention.kv_heads={}": "n_kv_heads n_query_groups num_key_value_heads num_query_groups",
    "model.attention.head_size={}": "head_dim kv_channels",
    "model.feedforward.hidden={}": "intermediate_size ffn_hidden_size d_ff dim_feedforward ffn_dim",
    "model.dropout={}": "hidden_dropout dropout_rate resid_pdrop hidden_dropout_prob",
    "model.attention.dropout={}": "attention_dropout attn_pdrop attention_probs_dropout_prob",
    "model.norm.eps={}": "norm_eps rms_norm_eps layernorm_epsilon layer_norm_eps",
    "model.attention.rotary.base={}": "rope_theta rotary_base rope_base",
    "model.tied={}": "tie_word_embeddings weight_tying tie_weights",
    "model=moe model.feedforward.experts={}": "num_experts n_experts num_local_experts",
    "model=moe router.top_k={}": "moe_router_topk num_experts_per_tok experts_per_token",
    "context={}": (
        "block_size seq_length seq_len max_seq_len max_seq_length max_position_embeddings n_positions "
        "context_length sequence_length max_length n_ctx"
    ),
    "tokenizer.vocab_size={}": "padded_vocab_size n_vocab vocabulary_size",
    "pad_vocab_to_multiple_of={}": "make_vocab_size_divisible_by padding_multiple",
    # batches and lengths
    "batch.size={} (rows of a step, over all devices)": "batch_size global_batch_size train_batch_size",
    "batch.size={} (rows of a step, over all devices; hardware.micro_batch_size=... divides them)": (
        "micro_batch_size per_device_train_batch_size local_batch_size device_batch_size"
    ),
    "batch.size=... (rows of a step, over all devices; hardware.micro_batch_size=... divides them)": (
        "accumulate_grad_batches gradient_accumulation_steps gradient_accumulation_iters grad_accum_steps "
        "accumulation_steps"
    ),
    "batch=ramp batch.start=... batch.increment=...": "rampup_batch_size",
    "trainer.max_steps={}": (
        "max_steps max_iters train_iters num_steps total_steps train_steps steps num_iterations "
        "max_train_steps iterations"
    ),
    "trainer.max_steps={}, in steps or as 5min, or epochs=3": "max_time max_tokens train_samples",
    "epochs={}": "num_train_epochs num_epochs n_epochs max_epochs epoch",
    # optimization
    "optimizer.lr={}": "lr learning_rate max_lr peak_lr base_lr",
    "optimizer.weight_decay={}": "weight_decay wd",
    "optimizer.betas=[0.9,0.95]": "beta1 beta2 adam_beta1 adam_beta2 betas",
    "optimizer.eps={}": "adam_eps adam_epsilon",
    "optimizer={}": "optim optimizer_name optim_name",
    "clip.largest={}": (
        "grad_clip clip_grad max_norm max_grad_norm gradient_clip_val gradient_clipping clip_grad_norm"
    ),
    "scheduler.warmup={}": (
        "warmup warmup_steps warmup_iters warmup_ratio lr_warmup_steps lr_warmup_iters lr_warmup_fraction "
        "num_warmup_steps warmup_fraction"
    ),
    "scheduler.final=0.1 (of optimizer.lr)": "min_lr lr_min min_lr_ratio min_lr_factor",
    "trainer.max_steps={} (scheduler.steps=... follows it)": "lr_decay_iters lr_decay_steps",
    "scheduler={}": "lr_scheduler lr_scheduler_type lr_decay_style lr_schedule sched",
    "scheduler=constant where it is not to fall": "decay_lr",
    # watching and saving
    "trainer.val_check_interval={}": "eval_interval eval_steps val_interval evaluation_steps",
    "trainer.limit_val_batches={}": "eval_iters val_batches limit_eval_batches",
    "trainer.val_check_interval=250, in steps": "evaluation_strategy eval_strategy check_val_every_n_epoch",
    "trainer.log_every_n_steps={}": "log_interval logging_steps log_freq log_every",
    "callbacks.checkpoint.every_steps={}": "save_interval save_steps checkpoint_interval save_every",
    "callbacks.checkpoint.keep={}": "save_total_limit save_top_k keep_latest_k",
    "callbacks.checkpoint.monitor={}": "metric_for_best_model optimized_metric",
    "resume=outputs/<run_id>, or weights=outputs/<run_id> for its weights alone": (
        "ckpt_path resume_from_checkpoint init_from checkpoint_dir load_checkpoint resume_from ckpt "
        "checkpoint_path pretrained_checkpoint"
    ),
    "weights=outputs/<run_id>": "pretrained pretrained_model finetune_from model_name_or_path",
    "output_dir={}": "out_dir save_dir log_dir default_root_dir logging_dir dump_folder",
    "run_id={}": "run_name exp_name experiment_name task_name wandb_run_name job_name",
    "logger.wandb.project={}": "wandb_project project_name",
    "logger=csv, wandb, tensorboard or many": (
        "wandb_log report_to use_wandb enable_wandb enable_tensorboard loggers"
    ),
    # data
    "data=text data.path={}": "train_file data_path train_data_path dataset_path data_dir",
    "data=text data.path=<files> data.val_path={}": "validation_file val_file val_data_path",
    "data=huggingface data.path={}": "dataset_name hf_dataset",
    "task=classification data=labelled data.path=<file> data.text={}": "text_column text_column_name",
    "task=classification data=labelled data.path=<file> data.label={}": "label_column label_column_name",
    "tokenizer=huggingface tokenizer.path={}": (
        "tokenizer_name tokenizer_name_or_path tokenizer_path tokenizer_model"
    ),
    "seed={}": "random_seed random_state",
    "nothing to set, as the rows are read from mapped files: leave it out": (
        "num_workers dataloader_num_workers pin_memory persistent_workers prefetch_factor"
    ),
    # devices
    "trainer.devices={}": "gpus num_gpus n_gpu ngpus nproc_per_node num_processes n_devices",
    "trainer.num_nodes={}": "nnodes num_machines nodes",
    "trainer.accelerator={}": "accelerator device_type",
    "trainer.accelerator=cpu": "use_cpu no_cuda",
    "a word of torchrun, which stands before train.py: torchrun --nproc-per-node=2 train.py": (
        "master_addr master_port node_rank rdzv_backend rdzv_endpoint rdzv_id standalone"
    ),
    "strategy=tensor trainer.devices={}": (
        "tensor_parallel_degree tensor_model_parallel_size tensor_parallel_size tp_size"
    ),
    "strategy=pipeline trainer.devices={}": "pipeline_parallel_degree pipeline_model_parallel_size pp_size",
    "strategy=context trainer.devices={}": "context_parallel_degree context_parallel_size cp_size",
    "model=moe strategy=expert trainer.devices={}": (
        "expert_parallel_degree expert_model_parallel_size ep_size"
    ),
    "strategy=fsdp trainer.devices={}": "data_parallel_shard_degree dp_shard",
    "strategy=ddp trainer.devices={}": "data_parallel_replicate_degree dp_replicate",
    "strategy=fsdp": "fsdp fully_shard use_fsdp use_distributed_optimizer",
    "strategy=deepspeed strategy.stage=2": "deepspeed deepspeed_config zero_stage",
    "hardware.checkpointing=true, or selective": (
        "gradient_checkpointing activation_checkpointing recompute_activations activation_checkpoint "
        "recompute_granularity"
    ),
    "hardware.compile={}": "compile torch_compile use_compile",
    "hardware.attention=flash": "use_flash_attn flash_attention attn_implementation",
    "precision=bf16-mixed, fp16-mixed or fp32": "dtype mixed_precision mixed_precision_param amp torch_dtype",
    "precision=bf16-mixed": "bf16 use_bf16",
    "precision=fp16-mixed": "fp16 use_amp",
    # their own commands
    "triad evaluate run=outputs/<run_id> split=test": "do_eval do_predict eval_only do_test",
    "a sweep file, triad sweep sweeps/lr.yaml, or -m optimizer.lr=1e-3,3e-3": (
        "hparams_search sweeper sweep_config"
    ),
}

# a word as a whole
WORDS = {
    "run_id={}": "name",
    "data=text data.path=<files>": (
        "datamodule dataset data=csv data=json data=jsonl data=txt data=file data=files data=custom"
    ),
    "trainer.accelerator={}": "device",
    "model={}": "model_name model.name model.flavor arch model_type net",
    "optimizer={}": "optimizer.name optimizer.type",
    "scheduler={}": "scheduler.name scheduler.type",
    "triad evaluate run=outputs/<run_id> split=test": "test evaluate",
    "output_dir={}": "paths paths.output_dir paths.log_dir",
    "data=text data.path={}": "paths.data_dir",
    "data=text data.field={}": "data.text data.column data.text_column",
    "resume=outputs/<run_id>, and output_dir=... to save elsewhere": "load save",
    "experiment=speedrun": "config config_file job.config_file config_name",
    "trainer.accelerator=gpu": "trainer=gpu trainer=cuda",
    "trainer.accelerator=cpu": "trainer=cpu trainer=mps",
    "strategy=ddp trainer.devices=auto": "trainer=ddp",
    "strategy=ddp trainer.devices=2 trainer.accelerator=cpu": "trainer=ddp_sim",
    "debug=tiny": "debug=default debug=fdr debug=limit debug=true debug=fast debug=small debug=quick",
    "debug=overfit": "debug=overfit_batch",
    "perf/ among the metrics, or py-spy": "debug=profiler profiler profile",
    "logger=[]": "logger=none logger=null logger=false logger=no logger=off",
    "logger=wandb": "logger=comet logger=mlflow logger=neptune logger=aim logger=clearml",
    "logger=many": "logger=many_loggers logger=all",
    "logger=tensorboard": "logger=tb",
    "callbacks=[]": "callbacks=none callbacks=null",
    "callbacks=[default]": (
        "callbacks=model_checkpoint callbacks=rich_progress_bar callbacks=model_summary callbacks=checkpoint"
    ),
    "precision=bf16-mixed": "precision=bf16 precision=bfloat16 precision=mixed precision=amp",
    "precision=bf16-true": "precision=pure_bf16",
    "precision=fp16-mixed": "precision=16 precision=16-mixed precision=fp16 precision=float16 precision=half",
    "precision=fp32": (
        "precision=32 precision=32-true precision=float32 precision=full precision=tf32 precision=single"
    ),
    "precision=fp64": "precision=64 precision=64-true precision=float64 precision=double",
    "precision=fp8": "precision=8 precision=transformer-engine precision=float8",
    "strategy=single": "strategy=none strategy=auto strategy=null",
    "strategy=ddp": "strategy=ddp_spawn strategy=ddp_find_unused_parameters_true strategy=dp",
    "strategy=fsdp": "strategy=fsdp2 strategy=fully_sharded strategy=zero",
    "strategy=deepspeed strategy.stage=1": "strategy=deepspeed_stage_1 strategy=zero1",
    "strategy=deepspeed strategy.stage=2": "strategy=deepspeed_stage_2 strategy=zero2",
    "strategy=deepspeed strategy.stage=3": "strategy=deepspeed_stage_3 strategy=zero3",
    "strategy=tensor": "strategy=tp strategy=tensor_parallel strategy=megatron",
    "strategy=pipeline": "strategy=pp strategy=pipeline_parallel",
    "strategy=context": "strategy=cp strategy=ring strategy=sequence_parallel",
    "model=moe strategy=expert": "strategy=ep strategy=expert_parallel",
    "optimizer=adamw": "optimizer=adamw_torch optimizer=adamw_torch_fused optimizer=adamw_hf optimizer=AdamW",
    "optimizer=adam": "optimizer=Adam",
    "optimizer=sgd": "optimizer=SGD optimizer=momentum",
    "scheduler=constant": "scheduler=none scheduler=null scheduler=constant_with_warmup scheduler=fixed",
    "scheduler=cosine": (
        "scheduler=cosine_with_warmup scheduler=cosine_annealing scheduler=cosine_with_min_lr"
    ),
    "scheduler=linear": "scheduler=linear_warmup",
    "scheduler=inverse_sqrt": "scheduler=noam scheduler=inverse_square_root scheduler=inverse-square-root",
    "scheduler=plateau": "scheduler=reduce_lr_on_plateau scheduler=reduce_on_plateau",
    "scheduler=wsd": "scheduler=warmup_stable_decay scheduler=trapezoidal",
    "scheduler=one_cycle": "scheduler=onecycle scheduler=1cycle",
    "model=gpt2": "model=gpt model=nanogpt",
    "model=llama3_8b": "model=llama model=llama3",
    "model=bert_base": "model=bert",
    "model=t5_small": "model=t5",
    "model=transformer_base": "model=transformer",
    "model=lstm": "model=rnn",
    "model=mixtral_8x7b": "model=mixtral",
    "task=causal_lm": "task=lm task=clm task=language_modeling task=language_modelling task=pretraining",
    "model=encoder task=masked_lm": "task=mlm",
    "tokenizer=unigram": "tokenizer=sentencepiece tokenizer=spm",
    "tokenizer=byte": "tokenizer=bytes",
    "tokenizer=char": "tokenizer=character tokenizer=chars",
    "tokenizer=huggingface tokenizer.path=<tokenizer.json>": "tokenizer=gpt2 tokenizer=hf tokenizer=tiktoken",
    "finetuning=none": "finetuning=full",
    "clip=none": "clip=null clip=false",
}

# an argument of a command of triad
ARGUMENTS = {
    "run": (
        "checkpoint ckpt ckpt_path checkpoint_dir checkpoint_path model model_path path runs output_dir "
        "out_dir"
    ),
    "checkpoint": "ckpt_step global_step iteration step",
    "prompt": "start text input",
    "tokens": "max_new_tokens max_tokens max_length length num_tokens",
    "n": "num_samples num_return_sequences samples best_of",
    "beams": "num_beams beam_size beam_width",
    "temperature": "temp",
    "to": "format output output_path dest",
    "out": "output output_file out_file",
    "by": "group_by",
    "jobs": "workers num_workers parallel",
}

# a command of triad
COMMANDS = {
    "evaluate": "eval test validate validation lm_eval",
    "generate": "sample chat infer inference predict complete",
    "train": "fit pretrain finetune finetune_full finetune_lora resume run",
    "export": "convert convert_from_litgpt convert_to_litgpt save",
    "prepare": "preprocess preprocess_data clean tokenize",
    "compare": "leaderboard board plot",
    "sweep": "tune hparams optimize agent",
}


def answer(key: str, value: str = "") -> str:
    """The words here for a key or key=value of another program, with its value; "" where it has none."""
    key = key.lstrip("+~-").replace("-", "_")
    words, keys = read_table()
    found = words.get(f"{key}={value}") or words.get(key) or keys.get(key.rpartition(".")[2], "")
    return found.format(value or "...")


def answer_flag(words: list[str], known: Iterable[str]) -> str:
    """What to write in the place of the first `--key value` or `--key=value` that is no known option."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        flag, sign, value = word.partition("=")
        if word.startswith("--") and not any(option.startswith(flag) for option in known):
            value = value if sign or following.startswith("-") or "=" in following else following
            key = flag.lstrip("-").replace("-", "_")
            ours = answer(key, value) or f"{key}={value or '...'}"
            return f"{word}: a word has no dashes: here that is {ours}"
    return ""


def find_argument(word: str, parameters: Iterable[str]) -> str:
    """The argument of a command that another program calls by this word, or ""."""
    word = word.lstrip("-").replace("-", "_")
    return next((ours for ours in parameters if word in ARGUMENTS.get(ours, "").split()), "")


def find_command(word: str) -> str:
    """The command that another program calls by this word, or ""."""
    return next((ours for ours, theirs in COMMANDS.items() if word.replace("-", "_") in theirs.split()), "")


@cache
def read_table() -> tuple[dict[str, str], dict[str, str]]:
    """The tables by the words of others: those of WORDS, and those of KEYS."""
    words, keys = (
        {their: ours for ours, row in table.items() for their in row.split()} for table in (WORDS, KEYS)
    )
    return words, keys
