"""nnU-Net's planners, with patch and batch chosen by the memory of the network that is trained.

All but the estimate is nnU-Net's own: spacing, normalisation, resampling, the order in which patches shrink and the
topology of each, the cap of the batch by the size of the data set. A planner asks for an estimate of every patch on its
way; here its way is walked once without, and a search asks for few of them.
"""

import contextlib
import copy
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from nnunet_reca.plans.search import largest_fitting
from nnunet_reca.plans.wishes import CASCADE, GB, STAGES, Outcome, Planned, Plans, Wishes, by, in_gb

#: what a planner compares its estimates with; ours are fractions of it
REFERENCE = 1.0


def find_planner(name: str) -> type:
    """A planner of nnU-Net.

    Raises:
        ValueError: if it has none of this name.
    """
    import nnunetv2
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    with contextlib.redirect_stdout(io.StringIO()):
        folder = f"{nnunetv2.__path__[0]}/experiment_planning"
        found = recursive_find_python_class(folder, name, "nnunetv2.experiment_planning")
    if not isinstance(found, type) or not issubclass(found, ExperimentPlanner):
        raise ValueError(
            f"expected a planner of nnU-Net, such as ExperimentPlanner or nnUNetPlannerResEncM, got {name!r}"
        )
    return found


def plan(planner: type, dataset: str, wishes: Wishes) -> Outcome:
    """Plan a data set, whose fingerprint exists; nothing is written but what nnU-Net copies beside the plans.

    Args:
        planner: of nnU-Net.
        dataset: its full name.
        wishes: what to plan for.

    Raises:
        ValueError: if a configuration does not suit the network, or not even the smallest patch fits.
    """
    made = type(planner.__name__, (_ByMemory, planner), {})(dataset, wishes)  # the plans name nnU-Net's planner
    with contextlib.redirect_stdout(io.StringIO()):
        made.plan_experiment()
        if CASCADE in made.planned and made.planned[CASCADE].memory > wishes.target(CASCADE):
            made.for_cascade = True  # whose input has the first stage's labels, too
            made.plan_experiment()
    return Outcome(made.plans, made.planned, made.left_out)


@dataclass(frozen=True)
class _Patch:
    """A patch on a planner's way, and the network's topology that it has for it."""

    size: tuple[int, ...]
    architecture: Mapping[str, Any]


@dataclass(frozen=True)
class _Search:
    """A configuration in planning: nnU-Net's own planning of it, its patches from the largest, and the one chosen."""

    planned_by: Callable[[Callable[[_Patch], float]], dict[str, Any]]
    patches: Sequence[_Patch] = field(default_factory=list)
    chosen: int = 0

    def configuration(self, patch: int, fraction: float) -> dict[str, Any]:
        """What nnU-Net plans if this patch is the first that fits, and takes a fraction of the target."""
        answers = iter([math.inf] * patch)
        return self.planned_by(lambda candidate: next(answers, fraction * REFERENCE))


class _End(Exception):
    """Smaller patches are none for any network."""


class _Never(dict[str, Any]):
    """A cache that forgets: a planner asks for the estimate of each patch on its way."""

    def keys(self) -> Any:
        return ()


class _ByMemory:
    """Mixin before a planner of nnU-Net, whose estimates of memory it replaces."""

    for_cascade = False

    def __init__(self, dataset: str, wishes: Wishes) -> None:
        super().__init__(dataset)  # type: ignore[call-arg]
        planner: Any = self
        planner.UNet_reference_val_2d = planner.UNet_reference_val_3d = REFERENCE
        planner.UNet_vram_target_GB = planner.UNet_reference_val_corresp_GB
        self.smallest_batch: int = planner.UNet_min_batch_size
        planner.UNet_reference_val_corresp_bs_2d = planner.UNet_reference_val_corresp_bs_3d = self.smallest_batch
        self.wishes, self.transpose = wishes, planner.determine_transpose()
        self.estimates: dict[str, int] = {}
        self.too_large: list[tuple[str, tuple[int, ...], int]] = []

    def plan_experiment(self) -> Plans:
        self.searches: dict[str, _Search] = {}
        self.left_out: dict[str, str] = {}
        return super().plan_experiment()  # type: ignore[misc]

    def generate_data_identifier(self, configuration_name: str) -> str:
        return configuration_name

    def static_estimate_VRAM_usage(
        self, patch_size: Any, inputs: int, outputs: int, network: str, arguments: dict[str, Any], imports: Any
    ) -> float:
        """nnU-Net's question, answered by whatever asks nnU-Net at the moment."""
        topology = dict(arguments)  # which nnU-Net changes on its way
        architecture = {"network_class_name": network, "arch_kwargs": topology, "_kw_requires_import": imports}
        return self.answer(_Patch(tuple(int(side) for side in patch_size), architecture))

    def get_plans_for_configuration(
        self, spacing: Any, median_shape: Any, data_identifier: str, approximate_n_voxels_dataset: float, _cache: Any
    ) -> dict[str, Any]:
        import numpy as np

        ask = super().get_plans_for_configuration  # type: ignore[misc]
        asked = partial(ask, np.array(spacing), median_shape, data_identifier, approximate_n_voxels_dataset)

        def planned_by(answer: Callable[[_Patch], float]) -> dict[str, Any]:
            self.answer = answer
            return asked(_Never())

        search = _Search(planned_by)
        if not self.wishes.includes(data_identifier):
            return search.configuration(0, 1)
        self.left_out.pop(data_identifier, None)  # of another spacing that nnU-Net tried
        search = self._candidates(data_identifier, search)
        if not search.patches:  # the reason is in ``left_out``
            return search.configuration(0, 1)
        try:
            search = self._largest_patch(data_identifier, search)
        except ValueError as error:
            if data_identifier != "3d_lowres" or self.wishes.needs(data_identifier):
                raise
            self.left_out[data_identifier] = str(error)
            return search.configuration(len(search.patches) - 1, 1)
        self.searches[data_identifier] = search
        return search.configuration(search.chosen, 1)

    def _candidates(self, name: str, search: _Search) -> _Search:
        """Walk nnU-Net's way from the largest patch to the last that suits the network, without estimates."""
        patches: list[_Patch] = []

        def note(patch: _Patch) -> float:
            last = patches[-1].size if patches else None
            if len(patch.architecture["arch_kwargs"]["strides"]) < 2 or min(patch.size) < 1 or patch.size == last:
                raise _End
            patches.append(patch)
            return math.inf

        with contextlib.suppress(_End):
            search.planned_by(note)
        template, reasons = search.configuration(0, 1), {}

        def unsuited(index: int) -> int:
            try:
                self.wishes.suits(self._plans(name, template, patches[index], self.smallest_batch), name)
            except ValueError as error:
                reasons[index] = str(error)
            return index in reasons

        last = largest_fitting(range(len(patches)), unsuited, 0, first=(0, len(patches) - 1))
        if last is None:
            reason = reasons.get(0, f"expected at least one pooling for {name}; plan larger images")
            if self.wishes.needs(name):
                raise ValueError(reason)
            self.left_out[name] = reason
            return search
        return _Search(search.planned_by, patches[: last + 1])

    def _largest_patch(self, name: str, search: _Search) -> _Search:
        """The first patch on nnU-Net's way that fits with the smallest batch."""
        ascending = search.patches[::-1]
        template, target = search.configuration(0, 1), self.wishes.target(name)

        def memory(index: int) -> int:
            return self._memory(name, template, ascending[index], self.smallest_batch, bound=target)

        voxels = [math.prod(patch.size) for patch in ascending]
        found = largest_fitting(voxels, memory, target, first=(len(voxels) - 1, 0))
        if found is None:
            least = self._memory(name, template, ascending[0], self.smallest_batch)
            raise ValueError(
                f"expected a target of at least {math.ceil(least / GB * 100) / 100:.2f} GB for {name}, which its "
                f"smallest patch {by(ascending[0].size)} with batch {self.smallest_batch} takes, got {in_gb(target)}; "
                "raise it, or take a trainer that needs less, such as one with _checkpoint or _tiny"
            )
        return _Search(search.planned_by, search.patches, len(search.patches) - 1 - found)

    def _largest_batch(self, name: str, search: _Search) -> dict[str, Any]:
        """nnU-Net's configuration of the patch with the largest batch that fits and that nnU-Net allows."""
        patch, target = search.patches[search.chosen], self.wishes.target(name)
        template = search.configuration(search.chosen, 1)
        most = int(search.configuration(search.chosen, 1e-9)["batch_size"])
        batches = range(self.smallest_batch, most + 1)

        def memory(index: int) -> int:
            return self._memory(name, template, patch, batches[index])

        found = largest_fitting(batches, memory, target, first=(0, 1 if search.chosen else 2))
        batch = batches[found or 0]
        made = search.configuration(search.chosen, self.smallest_batch / batch)
        taken = self._memory(name, template, patch, batch)
        self.planned[name] = Planned(taken, target, search.chosen == 0, batch == most)
        return made

    def _memory(
        self, name: str, template: Mapping[str, Any], patch: _Patch, batch: int, *, bound: float = math.inf
    ) -> int:
        """Bytes of a training step; where a smaller patch is known to exceed ``bound``, that one's."""
        plans, asked = self._plans(name, template, patch, batch), self._asked(name)
        key = json.dumps([asked, len(patch.size), plans["configurations"][name]["architecture"], patch.size, batch])
        if key not in self.estimates:
            for other, size, memory in self.too_large:
                smaller = len(size) == len(patch.size) and all(a <= b for a, b in zip(size, patch.size, strict=True))
                if other == asked and smaller and memory > bound:
                    return memory
            self.estimates[key] = taken = int(self.wishes.memory(plans, asked))
            fits = "fits" if taken <= self.wishes.target(name) else "too large"
            self.wishes.say(f"  {name}: patch {by(patch.size)}, batch {batch}: {in_gb(taken)}, {fits}")
            if batch == self.smallest_batch and bound < taken:
                self.too_large.append((asked, patch.size, taken))
        return self.estimates[key]

    def _asked(self, name: str) -> str:
        """The configuration whose step is estimated for one that is planned."""
        return CASCADE if self.for_cascade and name == "3d_fullres" else name

    def _plans(self, name: str, template: Mapping[str, Any], patch: _Patch, batch: int) -> Plans:
        """Plans of a candidate, as a plans file would have them."""
        planner: Any = self
        one = {"patch_size": list(patch.size), "batch_size": batch, "architecture": patch.architecture}
        configurations: dict[str, Any] = {name: {"batch_dice": False, **template, **one}}
        if self._asked(name) == CASCADE:
            configurations["3d_lowres"] = {**configurations[name], "next_stage": CASCADE}
            configurations[CASCADE] = {"inherits_from": name, "previous_stage": "3d_lowres"}
        about = {
            "dataset_name": planner.dataset_name,
            "plans_name": planner.plans_identifier,
            "image_reader_writer": "SimpleITKIO",
            "label_manager": "LabelManager",
            "transpose_forward": self.transpose[0],
            "transpose_backward": self.transpose[1],
        }
        return _plain({**about, "configurations": configurations})

    def save_plans(self, plans: Plans) -> None:
        """The end of nnU-Net's planning: batches are found, and what was not wished for is left out."""
        self.planned: dict[str, Planned] = {}
        configurations = plans["configurations"]
        wished = self.wishes.configurations or tuple(configurations)
        missing = [name for name in wished if name not in configurations]
        if missing:
            raise ValueError(
                f"expected configurations that nnU-Net plans for this data set and target, {sorted(configurations)}, "
                f"got {', '.join(missing)}; it plans 3d_lowres and the cascade only where images are much larger than "
                "the patch"
            )
        kept = {*wished, *(STAGES if CASCADE in wished else ())} - set(self.left_out)
        if CASCADE in kept and not set(STAGES) <= kept:
            kept.remove(CASCADE)
        if not kept:
            raise ValueError(next(iter(self.left_out.values())))
        for name in self.searches:
            if name in kept:
                configurations[name]["batch_size"] = self._largest_batch(name, self.searches[name])["batch_size"]
        plans["configurations"] = {name: made for name, made in configurations.items() if name in kept}
        if CASCADE not in kept:
            plans["configurations"].get("3d_lowres", {}).pop("next_stage", None)
        self.plans = _plain(plans)
        if CASCADE in kept:
            both = (CASCADE, "3d_fullres") if self.for_cascade else (CASCADE,)
            for name in both:
                taken, target = int(self.wishes.memory(self.plans, name)), self.wishes.target(name)
                self.planned[name] = replace(self.planned["3d_fullres"], memory=taken, target=target)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy as a JSON file would give it back."""
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export

    copied = copy.deepcopy(dict(content))
    recursive_fix_for_json_export(copied)
    return json.loads(json.dumps(copied))
