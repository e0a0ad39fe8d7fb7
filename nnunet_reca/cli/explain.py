"""``nnUNetv2_reca_explain``: where a trained network looks, and what it loses without its carry, attention, blocks."""

import argparse
import sys
from pathlib import Path

from nnunet_reca.cli.console import on_any_console, say


@on_any_console
def main(arguments: list[str] | None = None) -> int:
    """Write the report.

    Returns:
        0, or 1 with one line on stderr if nothing was written.
    """
    options = _parser().parse_args(arguments)
    try:
        _explain(options)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"nnUNetv2_reca_explain: {error}\n")
        return 1
    return 0


def _explain(options: argparse.Namespace) -> None:
    from nnunet_reca.explain.findings import Question
    from nnunet_reca.explain.run import explain

    findings = explain(Question(**vars(options)), say)
    if not findings.facts["recurrent"]:
        say("a self-attention network: it has no carry, so that none is switched off or cut")
    for cut in findings.cuts:
        scores = ", ".join(f"{name} {'-' if d is None else f'{1 - d:.4f}'}" for name, d in cut.to_full.items())
        say(f"{cut.part} cut in {cut.chain}: 1 - Dice to the whole model's prediction: {scores}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_reca_explain",
        description="Shows where a trained RecA network looks: the attention of each encoder stage at one voxel, on "
        "the image, with the carry on and switched off; how the prediction changes when the carry, the attention or "
        "the transformer blocks are cut; and logits and entropy of every layer. Writes PNG figures, NIfTI maps and "
        "tables (JSON, CSV, Markdown). Works on any trained model of nnunet_reca, self-attention twins too.",
    )
    add = parser.add_argument
    add("-i", dest="image", type=Path, nargs="+", required=True, help="image: channel files, prefix CASE, or folder")
    add("-m", dest="model", type=Path, required=True, help="nnUNet_results/DATASET/TRAINER__PLANS__CONFIGURATION")
    add("-o", dest="output", type=Path, required=True, help="folder to write")
    add("-f", dest="fold", help="fold, a number or all (default: the first)")
    add("-chk", dest="checkpoint", default="checkpoint_final.pth", help="checkpoint (default: checkpoint_final.pth)")
    add(
        "--voxel",
        nargs="+",
        type=int,
        metavar="INDEX",
        help="Z Y X, index in the file's array as SimpleITK.GetArrayFromImage gives it, from 0; Y X in 2D images "
        "(default: the voxel of the largest predicted object that is nearest to its centre)",
    )
    add("--label", help="look at the largest object of this label or region, name or number (default: of any)")
    add("-gt", dest="reference", type=Path, help="reference segmentation, for the Dice of each prediction to it")
    add("-prev_stage_prediction", dest="previous_stage", type=Path, help="previous stage's segmentation, of a cascade")
    add("--heads", choices=("mean", "max"), default="mean", help="over the heads, in maps and figures (default: mean)")
    add(
        "--channel",
        type=int,
        default=0,
        help="channel of the image in the figures; pictures of one colour file are shown in colour (default: 0)",
    )
    add(
        "--cuts",
        choices=("all", "carry"),
        default="all",
        help="all: of the carry, the attention and the blocks; carry: of the carry alone, half the time (default: all)",
    )
    add("-device", dest="device", help="cuda, cpu or mps (default: cuda if there is any)")
    add("-step_size", dest="step_size", type=float, default=0.5, help="of the sliding window (default: 0.5)")
    add("--disable_tta", dest="mirroring", action="store_false", help="predict without mirrored images: faster")
    add("--overwrite", action="store_true", help="replace an earlier report in the folder, and no other file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
