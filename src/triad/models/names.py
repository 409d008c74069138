"""What parameters are called."""


def plain_name(name: str) -> str:
    """The name without what checkpointing and compilation put around a module."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "")
