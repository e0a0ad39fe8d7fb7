"""Whether trainers, configurations and plans suit each other."""

from collections.abc import Sequence
from typing import Any

from nnunet_reca.plans.networks import NETWORKS
from nnunet_reca.plans.rewrite import rewrite_plan
from nnunet_reca.results.problems import first_line
from nnunet_reca.study import nnunet
from nnunet_reca.study.jobs import CASCADE, PREVIOUS
from nnunet_reca.study.spec import Study
from nnunet_reca.trainers.names import parse_trainer_name
from nnunet_reca.trainers.options import rewrite_arguments

#: configurations that planners of nnU-Net make; the second two only for large images
PLANNED = ("2d", "3d_fullres", PREVIOUS, CASCADE)


def fit_problems(study: Study, dataset: str, plans: str) -> list[str]:
    """What of a study does not suit the plans of a data set; where there are none yet, what never could."""
    content = nnunet.plans_content(dataset, plans)
    return [
        problem
        for configuration in study.configurations
        for problem in (
            _before_planning(study, configuration)
            if content is None
            else _with_plans(study.trainers, dataset, plans, configuration, content)
        )
    ]


def _before_planning(study: Study, configuration: str) -> list[str]:
    if configuration not in PLANNED:
        return [f"configuration {configuration}: expected one that nnU-Net plans, {', '.join(PLANNED)}"]
    found = []
    for trainer in study.trainers:
        parsed = _parsed(trainer)
        dimensions = NETWORKS[parsed.network].dimensions if parsed else (2, 3)
        if int(configuration[0]) not in dimensions:
            wanted = "2d" if 2 in dimensions else "3d_fullres"
            found.append(f"{trainer}: takes no {configuration[0]}D configuration, got {configuration}; use {wanted}")
    return found


def _with_plans(
    trainers: Sequence[str], dataset: str, plans: str, configuration: str, content: dict[str, Any]
) -> list[str]:
    if configuration not in content["configurations"]:
        there = ", ".join(sorted(content["configurations"]))
        return [f"{dataset}, {plans}: expected a configuration of {there}, got {configuration}"]
    found = []
    for trainer in trainers:
        parsed = _parsed(trainer)
        if parsed is None:
            continue
        arguments = rewrite_arguments(parsed.options, recurrent=parsed.recurrent)
        try:
            rewrite_plan(content, configuration, network=parsed.network, **arguments)
        except ValueError as error:
            found.append(f"{dataset}, {plans}, {trainer}: {first_line(error)}")
    return found


def _parsed(trainer: str) -> Any:
    try:
        return parse_trainer_name(trainer)
    except ValueError:  # somebody's own, or a slip that is named elsewhere
        return None
