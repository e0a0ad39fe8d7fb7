"""``nnUNetv2_reca_convert_weights``: a checkpoint -> weights for ``nnUNetv2_train -pretrained_weights``."""

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nnunet_reca.cli.console import on_any_console
from nnunet_reca.cli.planned import read_plan
from nnunet_reca.weights.sources import FORMS
from nnunet_reca.weights.swin_unetr import Merging

if TYPE_CHECKING:
    from nnunet_reca.trainers.base import RecaTrainer


@on_any_console
def main(arguments: list[str] | None = None) -> int:
    """Convert, print the match report, and write the file.

    Returns:
        0, or 1 with one line on stderr if nothing was written.
    """
    options = _parser().parse_args(arguments)
    try:
        report = convert_file(options)
    except ValueError as error:
        sys.stderr.write(f"nnUNetv2_reca_convert_weights: {error}\n")
        return 1
    sys.stdout.write(
        f"{report}\n\nwritten: {options.output}\nnow: nnUNetv2_train {options.dataset} {options.configuration} FOLD "
        f"-tr {options.trainer} -pretrained_weights {options.output}\n"
    )
    return 0


def convert_file(options: argparse.Namespace) -> str:
    """Convert ``options.source`` for the network of trainer, data set and configuration.

    Returns:
        The match report.

    Raises:
        ValueError: if anything does not fit; the output is not touched then.
    """
    import torch

    from nnunet_reca.weights.checkpoint import named_tensors
    from nnunet_reca.weights.convert import convert
    from nnunet_reca.weights.layouts import known_layouts
    from nnunet_reca.weights.primus import published_geometry
    from nnunet_reca.weights.sources import read_source
    from nnunet_reca.weights.trained import trained_layout, trained_network

    output = Path(options.output)
    if output.is_dir() or (output.exists() and not options.overwrite):
        raise ValueError(f"expected a new output file, got {output}, which exists; say --overwrite or choose another")
    trainer = _trainer(options.trainer)
    plans, dataset_json = read_plan(options.dataset, options.plans)
    checkpoint = read_source(options.source, trust=options.trust_pickle)
    network = trainer.new_network(plans, options.configuration, dataset_json)
    trained = trained_network(checkpoint)
    layouts = known_layouts(options.merging) if trained is None else [trained_layout(trained)]
    trained = trained or published_geometry(checkpoint)
    source = named_tensors(checkpoint, options.source)
    state, report = convert(source, network, layouts, trained, part=options.part)
    name = Path(options.source).name if Path(options.source).is_file() else options.source
    content = {"network_weights": state, "source": name, "report": str(report)}
    partial = output.with_name(output.name + ".partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, partial)
        os.replace(partial, output)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise ValueError(f"{output} cannot be written: {str(error).splitlines()[0]}") from error
    return str(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_reca_convert_weights",
        description="Turns a published checkpoint (RecA, MONAI, nnFormer, Swin-T ImageNet, ViT .npz, ...), or one of "
        "a training with this package on other data, into weights for nnUNetv2_train -pretrained_weights. The layout "
        "is recognised; a report says what was loaded, adapted and skipped. The data set must be planned.",
    )
    parser.add_argument("source", help=f"checkpoint: .pt, .pth, .model, .safetensors or .npz; or {FORMS}")
    parser.add_argument(
        "-tr", dest="trainer", required=True, help="trainer, such as nnUNetTrainerSwinUNETRReca, or a subclass of one"
    )
    parser.add_argument("-d", dest="dataset", required=True, help="data set name or id")
    parser.add_argument("-c", dest="configuration", required=True, help="configuration, such as 3d_fullres")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", help="plans identifier (default nnUNetPlans)")
    parser.add_argument("-o", dest="output", required=True, help="file to write")
    parser.add_argument(
        "--merging",
        choices=get_args(Merging),
        default="merging",
        help="SwinUNETR only: patch merging of the source. 'duplicated' is the merging of the RecA code and of MONAI "
        "0.9 to 1.4, which names alone do not tell (default: merging, as in MONAI from 1.5 on)",
    )
    parser.add_argument(
        "--part",
        metavar="NAME",
        help="where a checkpoint holds weights for this network more than once (student and teacher, model and EMA): "
        "name of the part to take; the report names them",
    )
    parser.add_argument("--trust-pickle", action="store_true", help="load pickled objects, which may run code")
    parser.add_argument("--overwrite", action="store_true", help="replace the output file")
    return parser


def _trainer(name: str) -> "type[RecaTrainer]":
    """A trainer of this package, or a subclass that nnU-Net finds, as in ``nnUNetv2_train``."""
    from nnunet_reca import trainers
    from nnunet_reca.trainers.base import RecaTrainer
    from nnunet_reca.trainers.find import find_trainer

    found: Any = None
    with contextlib.suppress(ValueError):  # options that are not ours: somebody else's class, or a slip
        found = getattr(trainers, name, None)
    if found is None:
        try:
            found = find_trainer(name)
        except (RuntimeError, ValueError, AssertionError):  # nobody has it, or it is no trainer
            trainers.check_spelling(name)
        except Exception as error:  # a file on the way cannot be imported
            raise ValueError(f"nnU-Net's look-up of {name} fails: {type(error).__name__}: {error}") from error
    if isinstance(found, type) and issubclass(found, RecaTrainer):
        return found
    raise ValueError(
        f"expected a trainer of nnunet_reca, {trainers.GRAMMAR}, or a subclass of one in a folder that "
        f"nnUNet_extTrainer names, got {name!r}"
    )


if __name__ == "__main__":
    sys.exit(main())
