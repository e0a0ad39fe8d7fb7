"""Searched after all other directories: says what is wrong with a name that resembles those of our trainers."""


def __getattr__(name: str) -> type:
    if name.startswith("nnUNetTrainer"):
        from nnunet_reca._discovery import searched
        from nnunet_reca.trainers.names import check_spelling

        try:
            check_spelling(name)
        except ValueError as error:
            raise ValueError(f"no trainer {name} in nnunetv2 nor in {', '.join(searched()[:-1])}: {error}") from None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
