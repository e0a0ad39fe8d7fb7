"""Re-exports the trainers of nnunet_reca; nnU-Net imports this module from ``nnUNet_extTrainer`` by its bare name.

nnU-Net asks each module for each name that it looks for. A name that only begins like ours may be of somebody else's
trainer, in a directory that nnU-Net has yet to search: an ``AttributeError`` lets it go on.
"""


def __getattr__(name: str) -> type:
    if not name.startswith("nnUNetTrainer"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from nnunet_reca import trainers
    except ModuleNotFoundError as error:  # inherited from another environment, which has the package
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
    try:
        trainers.check_spelling(name)
    except ValueError as error:
        _let_go(name, error)
    return getattr(trainers, name)


def _let_go(name: str, error: ValueError) -> None:
    """Send nnU-Net on to the directories that come after this one; where there are none, ``error`` is the answer."""
    import os

    from nnunet_reca._discovery import last_directory, searched, shim_directory

    places = [os.path.realpath(entry) for entry in searched()]
    shim = os.path.realpath(shim_directory())
    later = places[places.index(shim) + 1 :] if shim in places else places
    if not any(map(os.path.exists, later)):
        raise error
    if os.path.realpath(last_directory()) not in later:  # nobody will say it at the end
        print(f"nnunet_reca has no such trainer: {error}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
