"""Two processes with gloo on the CPU train every network as DDP does in nnU-Net: no unused parameters allowed."""

import pytest
import torch
import torch.distributed as dist
from support.network_cases import CASES, build
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

CHOSEN = ["swin_unetr_3d", "nnformer_2d_two_stages", "swin_unet_3d_one_merge", "da_transunet_shallow"]
CASES_RUN = [(name, deep_supervision) for name in CHOSEN for deep_supervision in (True, False)]


def loss_of(outputs):
    return sum(o.square().mean() for o in (outputs if isinstance(outputs, list) else [outputs]))


def make(name, deep_supervision):
    """Without dropout and with norms that do not average over the batch, so that splitting a batch changes nothing."""
    network, arguments, size = CASES[name]
    model = build(network, arguments, deep_supervision=deep_supervision).double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
        if "drop" in type(module).__name__.lower():
            module.eval()
    torch.manual_seed(1)
    return model, torch.randn(2, 2, *size, dtype=torch.float64)


def work(rank, folder):
    """One process of two: the gradients of every case, one after the other."""
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for name, deep_supervision in CASES_RUN:
        model, x = make(name, deep_supervision)
        wrapped = DistributedDataParallel(model)
        for _ in range(2):  # a second step fails if a parameter of the first took no part
            model.zero_grad(set_to_none=True)
            loss_of(wrapped(x[rank : rank + 1])).backward()
        if rank == 0:
            gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
            torch.save(gradients, folder / f"{name}_{deep_supervision}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Gradients of every case, made by two processes; these import PyTorch anew, which takes longer than the steps."""
    folder = tmp_path_factory.mktemp("distributed")
    multiprocessing.spawn(work, (folder,), nprocs=2)
    return folder


@pytest.mark.parametrize(("name", "deep_supervision"), CASES_RUN)
def test_two_processes_have_the_gradients_of_one_on_the_joint_batch(name, deep_supervision, folder):
    model, x = make(name, deep_supervision)
    loss_of(model(x)).backward()
    gradients = torch.load(folder / f"{name}_{deep_supervision}.pt")
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert trained.keys() == gradients.keys()
    for parameter_name, parameter in trained.items():
        torch.testing.assert_close(gradients[parameter_name], parameter.grad, msg=parameter_name)
