"""Re-exports the trainers of nnunet_reca; nnU-Net imports this module from ``nnUNet_extTrainer`` by its bare name."""


def __getattr__(name: str) -> type:
    if not name.startswith("nnUNetTrainer"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from nnunet_reca import trainers
    except ModuleNotFoundError as error:  # inherited from another environment, which has the package
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
    return getattr(trainers, name)
