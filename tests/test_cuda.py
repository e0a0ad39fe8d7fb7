"""On a GPU the networks give what they give on the CPU, in values and gradients, in every way they are run.

``RECA_GPU_TESTS_ON=cpu pytest -m gpu`` runs the same tests on the CPU, with the attention that GPUs use.
"""

import copy

import pytest
import torch
from support.accelerator import BACKEND, DEVICE, held, on_the_device, usable
from support.network_cases import CASES, FIRST, build
from support.trainer_factory import initialized_trainer, random_batch

from nnunet_reca.blocks import LayerNorm
from nnunet_reca.blocks.carry import CARRIES, SPATIAL
from nnunet_reca.ops import instance_norm_leaky_relu
from nnunet_reca.ops._kinds_attention import kinds_attention
from nnunet_reca.ops._masked_attention import masked_attention

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not usable(), reason="needs a CUDA device")]
EACH = pytest.mark.parametrize(("network", "arguments", "size"), CASES.values(), ids=CASES)
FIRSTS = pytest.mark.parametrize(("network", "arguments", "size"), [CASES[n] for n in FIRST], ids=list(FIRST))
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])


@pytest.fixture(autouse=True)
def exact_float32():
    """No TensorFloat-32, whose products have 10 bits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def results(model, x, device, *, run=None):
    """Outputs and gradients, on the CPU; without dropout, whose random numbers differ between devices."""
    model = copy.deepcopy(model).to(device).eval()
    outputs = (model if run is None else run(model))(x.to(device))
    sum(o.square().mean() for o in outputs).backward()
    return [o.detach().cpu() for o in outputs], {n: p.grad.cpu() for n, p in model.named_parameters()}


def compare(model, x, *, run=None, **tolerance):
    expected = results(model, x, "cpu")
    with on_the_device():
        found = results(model, x, DEVICE, run=run)
    torch.testing.assert_close(found, expected, **tolerance)


@EACH
def test_outputs_and_float64_gradients_are_those_of_the_cpu(network, arguments, size):
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    compare(build(network, arguments, deep_supervision=True).double(), x, atol=1e-9, rtol=1e-6)


@FIRSTS
def test_float32_gradients_are_those_of_the_cpu(network, arguments, size):
    x = torch.randn(2, 2, *size)
    compare(build(network, arguments, deep_supervision=True), x, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize(
    "carry", [kind + end for kind in CARRIES for end in ("", SPATIAL) if kind + end != "none_spatial"]
)
def test_every_carry_and_alignment_is_that_of_the_cpu(carry):
    network, arguments, size = CASES["swin_unetr_2d_shallow"]
    model = build(network, arguments, deep_supervision=True, carry=carry).double()
    compare(model, torch.randn(2, 2, *size, dtype=torch.float64), atol=1e-9, rtol=1e-6)


@FIRSTS
def test_compiled_networks_give_what_the_cpu_gives(network, arguments, size):
    model = build(network, arguments, deep_supervision=True)
    x = torch.randn(2, 2, *size)

    def compiled(model):
        return torch.compile(model, backend=BACKEND)

    torch._dynamo.reset()
    compare(model, x, run=compiled, atol=2e-4, rtol=2e-3)


@FIRSTS
def test_checkpointing_changes_no_gradient(network, arguments, size):
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    plain, checkpointed = (
        build(network, arguments, deep_supervision=True, use_checkpoint=on).double() for on in (False, True)
    )
    with on_the_device():
        torch.testing.assert_close(results(checkpointed, x, DEVICE), results(plain, x, DEVICE), atol=1e-9, rtol=1e-6)


@HALVES
@EACH
def test_mixed_precision_trains_with_finite_gradients(network, arguments, size, dtype):
    model = build(network, arguments, deep_supervision=True).to(DEVICE).train()
    with on_the_device(), torch.autocast(DEVICE, dtype):
        outputs = model(torch.randn(2, 2, *size, device=DEVICE))
        sum(o.float().square().mean() for o in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("attend", [kinds_attention, masked_attention])
@pytest.mark.parametrize(("size", "window", "shift"), [(18, 7, 3), (14, 7, 3), (14, 7, 0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_fused_attention_has_the_values_and_gradients_of_float64(attend, size, window, shift, dtype):
    """With the published windows of 343 tokens, whose rows no kernel finds aligned, and more windows than kinds.

    Without gradients, too: there compute capability 9 and 10 prefer another kernel, cuDNN's.
    """
    torch.manual_seed(0)
    heads, padded, n = 2, size + -size % window, window**3
    shapes = [(2, *(padded,) * 3, 32), *[(2, *(size,) * 3, 32)] * 2, (heads, n, n), (32,), (32,)]
    low = [torch.randn(shape).to(dtype).to(DEVICE).requires_grad_() for shape in shapes]
    high = [x.detach().double().requires_grad_() for x in low]
    geometry = (window,) * 3, (shift,) * 3
    out, expected = attend(*low, *geometry), masked_attention(*high, *geometry)
    tolerance = {torch.float32: 1e-4, torch.float16: 6e-3, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(out.double(), expected, atol=tolerance, rtol=tolerance)
    with torch.no_grad():
        torch.testing.assert_close(attend(*low, *geometry).double(), expected.detach(), atol=tolerance, rtol=tolerance)
    gradients, wanted = (
        torch.autograd.grad(y.double().square().sum(), x[:4]) for y, x in ((out, low), (expected, high))
    )
    for ours, theirs in zip(gradients, wanted, strict=True):
        scale = theirs.abs().max()
        torch.testing.assert_close(ours.double() / scale, theirs / scale, atol=tolerance, rtol=tolerance)


@HALVES
def test_norms_keep_half_precision_and_have_the_gradients_of_float32(dtype):
    torch.manual_seed(0)
    x = torch.randn(2, 8, 6, 5, 8).to(dtype)
    norm = LayerNorm(8).to(DEVICE)
    for work in (norm, lambda y: instance_norm_leaky_relu(y, 0.01)):
        given = x.to(DEVICE).requires_grad_()
        wide = given.detach().float().requires_grad_()
        with torch.autocast(DEVICE, dtype):
            out = work(given)
        expected = work(wide)
        torch.testing.assert_close(out.float(), expected.float(), atol=0.03, rtol=0.03)
        ours, theirs = (torch.autograd.grad(y.float().pow(3).sum(), z)[0] for y, z in ((out, given), (expected, wide)))
        scale = theirs.abs().max()
        torch.testing.assert_close(ours.float() / scale, theirs / scale, atol=0.03, rtol=0.03)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny trainer on the device after a few steps of its own, and what it held after each two of them."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, on_the_device():
        for name in ("raw", "preprocessed", "results"):
            (folder / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(folder / name))
        patch.setenv("nnUNet_compile", "f")
        trainer = initialized_trainer(folder, "nnUNetTrainerSwinUNETRReca_tiny", "2d", device=torch.device(DEVICE))
        batch = random_batch(trainer)
        kept = []
        for _ in range(4):
            for _ in range(2):
                trainer.train_step(batch)
            trainer.optimizer.zero_grad(set_to_none=True)
            kept.append(held())
    return trainer, kept


def test_no_memory_is_kept_from_epoch_to_epoch(trained):
    _, kept = trained
    assert kept[1] == kept[2] == kept[3]


def test_inference_of_a_trained_network_is_that_of_the_cpu(trained):
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer, _ = trained
    trainer.set_deep_supervision_enabled(False)
    network = copy.deepcopy(trainer.network).float()
    sides = [side + side // 2 for side in trainer.configuration_manager.patch_size]
    image = torch.randn(trainer.num_input_channels, 2, *sides)
    found = []
    for device in ("cpu", DEVICE):
        predictor = nnUNetPredictor(device=torch.device(device), perform_everything_on_device=True, allow_tqdm=False)
        predictor.manual_initialization(
            copy.deepcopy(network).to(device),
            trainer.plans_manager,
            trainer.configuration_manager,
            [network.state_dict()],
            trainer.dataset_json,
            type(trainer).__name__,
            (0, 1),
        )
        with on_the_device(), torch.autocast(device, enabled=False):
            found.append(predictor.predict_sliding_window_return_logits(image).cpu().float())
    on_cpu, on_device = found
    assert (on_cpu - on_device).abs().max() < 0.05 * on_cpu.std()  # nnU-Net infers in float16 on CUDA
    assert (on_cpu.argmax(0) != on_device.argmax(0)).float().mean() < 0.01
