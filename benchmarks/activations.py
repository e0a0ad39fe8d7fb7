"""What a training step of SwinUNETR keeps and takes at its peak on a GPU, next to MONAI's: estimated, without a GPU.

The step is that of ``step.py`` under autocast in float16: forward, backward, clipping and AdamW, rehearsed on tensors
without data as :func:`nnunet_reca.memory.training_memory` does it. ``saved`` is what autograd keeps when the forward
pass has ended, parameters excepted; ``peak`` adds gradients, optimizer's state and temporaries, at the widest moment.
The last line is one JSON object. Run: ``python benchmarks/activations.py [--case swin_unetr_96_b2]``
"""

from types import SimpleNamespace
from typing import Any

import measure
import step
import torch
from torch import Tensor, nn

from nnunet_reca.memory.backends import BACKENDS
from nnunet_reca.memory.rehearsal import Rehearsal

VARIANTS = ("monai", "monai_checkpoint", "sa", "reca", "reca_planned", "reca_checkpoint")


class Step:
    """What a rehearsal asks of a trainer, for a network of ``step.py``."""

    plans_manager = None
    num_input_channels = 1
    enable_deep_supervision = False
    label_manager = SimpleNamespace(
        num_segmentation_heads=5, foreground_regions=[], ignore_label=None, has_regions=False
    )

    def __init__(self, case: str, variant: str) -> None:
        self.variant = variant
        self.kind, patch, self.feature_size, self.batch_size = step.CASES[case]
        self.configuration_manager = SimpleNamespace(patch_size=patch)

    def build_network_architecture(self, plans_manager: None, *_: Any) -> nn.Module:
        with torch.device("cpu"):  # MONAI reads numbers from tensors while it is built
            name, patch = self.variant.removeprefix("monai_"), self.configuration_manager.patch_size
            variant = self.variant if name != "checkpoint" else "monai"
            network = step.build(self.kind, variant, patch, self.feature_size, equal_weights=False)
        if name == "checkpoint":
            network.swinViT.use_checkpoint = True
            for layers in ("layers1", "layers2", "layers3", "layers4"):
                for block in getattr(network.swinViT, layers)[0].blocks:
                    block.use_checkpoint = True
        return network.to("meta")

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, None]:
        return torch.optim.AdamW(self.network.parameters(), lr=1e-5), None

    def _build_loss(self) -> Any:
        def loss(output: Tensor, _: Tensor) -> Tensor:
            return output.float().square().mean()

        return loss

    def _get_deep_supervision_scales(self) -> None:
        return None


def measure_variant(case: str, variant: str) -> dict[str, float]:
    """MiB."""
    rehearsal = Rehearsal(Step(case, variant), BACKENDS["cuda"])
    rehearsal.step()
    parts = {kind.value: size for kind, size in rehearsal.ledger.peak.items()}
    sizes = {"saved": rehearsal.saved, "peak": sum(parts.values()) - parts["parameters"]}
    return {name: round(size / 2**20, 1) for name, size in sizes.items()}


def main() -> None:
    parser = measure.parser(__doc__)
    parser.add_argument("--case", choices=[c for c in step.CASES if c.startswith("swin_unetr")])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.set_defaults(case="swin_unetr_96_b2")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found: dict[str, dict[str, float]] = {}
    print(f"{arguments.case}, float16, estimated for CUDA; in brackets the ratio to MONAI's\n")
    print("| network | saved MiB | peak MiB above the parameters |\n| --- | --- | --- |")
    for variant in arguments.variants:
        found[variant] = measure_variant(arguments.case, variant)
        base = found.get("monai", found[variant])
        cells = [f"{found[variant][k]:.0f} ({found[variant][k] / base[k]:.2f})" for k in ("saved", "peak")]
        print(f"| {variant} | {' | '.join(cells)} |", flush=True)
    about = {"case": arguments.case, "precision": "fp16", "estimated_for": "cuda", **measure.environment(arguments)}
    measure.finish({"benchmark": "activations", **about, "variants": found}, arguments.output)


if __name__ == "__main__":
    main()
