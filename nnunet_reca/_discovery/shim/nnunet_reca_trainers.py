"""Re-exports the trainers of nnunet_reca; nnU-Net imports this module from ``nnUNet_extTrainer`` by its bare name."""


def __getattr__(name: str) -> type:
    if not name.startswith("nnUNetTrainer"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nnunet_reca import trainers

    return getattr(trainers, name)
