"""``nnUNetv2_reca_compare``: cross-validations of several models in one report."""

import argparse
import sys
from pathlib import Path

from nnunet_reca.cli.console import on_any_console


@on_any_console
def main(arguments: list[str] | None = None) -> int:
    """Compare, write the report, and print what it says.

    Returns:
        0, or 1 with a message on stderr if nothing was written.
    """
    options = _parser().parse_args(arguments)
    from nnunet_reca.report.compare import Comparison, compare

    try:
        outcome = compare(
            Comparison(
                dataset=options.dataset,
                trainers=tuple(options.trainers),
                configurations=tuple(options.configurations),
                plans=tuple(options.plans),
                folds=tuple(options.folds),
                output=options.output,
                tolerance=options.tolerance,
                all_pairs=options.all_pairs,
                intersection=options.intersection,
                overlays=options.overlays,
                processes=options.processes,
                overwrite=options.overwrite,
            )
        )
    except ValueError as error:
        sys.stderr.write(f"nnUNetv2_reca_compare: {error}\n")
        return 1
    sys.stdout.write("\n".join(outcome.sentences) + f"\n\nwritten: {outcome.output / 'report.html'}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_reca_compare",
        description="Compares the cross-validations of trained models of one data set, any nnU-Net trainers: tables, "
        "paired statistics, cost, figures, and a page that holds all of it. Reads nnU-Net's validation folders and "
        "changes nothing in them.",
    )
    parser.add_argument("-d", dest="dataset", required=True, help="data set name or id")
    parser.add_argument(
        "-tr",
        dest="trainers",
        nargs="+",
        required=True,
        help="trainers; all are compared with the first. TRAINER__PLANS__CONFIGURATION names one model by itself",
    )
    parser.add_argument("-c", dest="configurations", nargs="+", default=["3d_fullres"], help="default 3d_fullres")
    parser.add_argument("-p", dest="plans", nargs="+", default=["nnUNetPlans"], help="default nnUNetPlans")
    parser.add_argument(
        "-f", dest="folds", nargs="+", default=["0", "1", "2", "3", "4"], help="folds, or all; default 0 1 2 3 4"
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        help="folder of the report; default: reca_comparison_... in the data set's results",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1.0, help="of the normalised surface distance, in mm (px for PNG); default 1"
    )
    parser.add_argument("--all-pairs", action="store_true", help="compare every pair of models")
    parser.add_argument(
        "--intersection", action="store_true", help="where cases or labels differ, compare what all models have"
    )
    parser.add_argument("--overlays", type=int, default=4, help="cases to draw; default 4")
    parser.add_argument(
        "-np",
        dest="processes",
        type=int,
        default=2,
        help="processes that measure, one case each; default 2; 1 does all in one process",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is already there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
