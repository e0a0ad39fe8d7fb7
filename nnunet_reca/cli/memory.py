"""The doctor's answer to ``-d DATASET -tr TRAINER``: memory of a training step, by configuration and part."""

import argparse

from nnunet_reca.cli.console import say
from nnunet_reca.cli.finding import first_line
from nnunet_reca.cli.planned import read_plan
from nnunet_reca.memory import training_memory


def show_memory(options: argparse.Namespace) -> int:
    """Print the estimate for each configuration; one that does not suit the trainer is a line, too.

    Args:
        options: dataset, trainer, plans, configuration (None for all) and device.

    Returns:
        0, or 1 if there is none.
    """
    try:
        plans, dataset_json = read_plan(options.dataset, options.plans)
    except ValueError as error:
        say(f"nnUNetv2_reca_doctor: {first_line(error)}")
        return 1
    shown = 0
    for configuration in options.configuration or plans["configurations"]:
        try:
            memory = training_memory(options.trainer, plans, configuration, dataset_json, device=options.device)
        except ValueError as error:
            say(f"{configuration}: {first_line(error)}")
            continue
        except Exception as error:  # trainers of others may do anything
            say(f"{configuration}: not estimated: {type(error).__name__}: {first_line(error)}")
            continue
        shown += 1
        say(f"{configuration}, {options.trainer} on {options.device}: estimated memory of a training step")
        for line in memory.text().splitlines():
            say(f"  {line}")
    return 0 if shown else 1
