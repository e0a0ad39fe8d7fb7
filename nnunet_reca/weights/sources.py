"""Where weights come from: a file, or a name in a library that publishes them."""

from collections.abc import Callable
from typing import Any

from nnunet_reca.weights.checkpoint import read_content

#: form of a source that is no file, for help and messages
FORMS = "timm:NAME, torchvision:NAME, hf:OWNER/REPO/FILE"


def read_source(source: str, *, trust: bool = False) -> Any:
    """What a source holds.

    Args:
        source: a file, see :func:`nnunet_reca.weights.checkpoint.read_checkpoint`; or ``timm:NAME``,
            ``torchvision:NAME`` or ``hf:OWNER/REPO/FILE``, which the library downloads, or takes from its cache.
        trust: allow pickled objects other than tensors in files, which may run code.

    Raises:
        ValueError: if there is no such source, it cannot be downloaded, or it cannot be read.
    """
    library, _, name = source.partition(":")
    fetch = _FETCH.get(library)
    if fetch is None:
        return read_content(source, trust=trust)
    try:
        content = fetch(name)
    except Exception as error:  # each library has its own exceptions for unknown names and for missing connections
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{source} cannot be fetched: {reason}; sources are {FORMS} with a name that the library publishes, and "
            "need a connection at first; without one give a downloaded file"
        ) from error
    return read_content(content, trust=trust) if isinstance(content, str) else content


def _timm(name: str) -> dict[str, Any]:
    import timm

    return timm.create_model(name, pretrained=True).state_dict()


def _torchvision(name: str) -> dict[str, Any]:
    import torchvision

    return torchvision.models.get_model(name, weights="DEFAULT").state_dict()


def _hf(name: str) -> str:
    import huggingface_hub

    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    if not file:
        raise ValueError(f"expected OWNER/REPO/FILE, got {name!r}")
    return str(huggingface_hub.hf_hub_download(f"{owner}/{repository}", file))


_FETCH: dict[str, Callable[[str], Any]] = {"timm": _timm, "torchvision": _torchvision, "hf": _hf}
