"""Small networks and state dicts in the published layouts, made by the libraries that define them."""

import functools
import warnings

import timm
import torch

from nnunet_reca.architectures import DATransUnet, NnFormer, Primus, SwinUnet, SwinUNETR
from nnunet_reca.weights import da_transunet, nnformer, swin_unet
from support.golden_io import golden_cases

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

MONAI_DEPTHS, MONAI_HEADS = (2, 2, 2, 2), (1, 2, 4, 8)
DEPTHS, HEADS = (2, 1, 3, 2), (1, 2, 4, 8)


def monai_network(dimensions=2, **options):
    torch.manual_seed(3)
    source = MonaiSwinUNETR(
        in_channels=1,
        out_channels=3,
        feature_size=12,
        depths=MONAI_DEPTHS,
        num_heads=MONAI_HEADS,
        spatial_dims=dimensions,
        **options,
    ).eval()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return source


def our_network(dimensions=2):
    strides = [[1] * dimensions] + [[2] * dimensions] * 5
    stages = {"depths": MONAI_DEPTHS, "num_heads": MONAI_HEADS}
    return SwinUNETR(1, 3, strides=strides, feature_size=12, **stages, carry="none", index_scheme="cropped").eval()


def self_supervised(source, prefix):
    return {f"{prefix}{n.replace('mlp.linear', 'mlp.fc')}": t for n, t in source.swinViT.state_dict().items()}


def randomised(module):
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def timm_swin(width=12, depths=DEPTHS, heads=HEADS):
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=224, embed_dim=width, depths=depths, num_heads=heads, window_size=7, num_classes=5
    )
    return randomised(model)


def microsoft_names(state):
    """timm begins a stage with its merging, Microsoft ends one with it."""
    renamed = {}
    for name, tensor in state.items():
        if ".downsample." in name:
            stage = int(name.split(".")[1])
            name = name.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
        renamed[name.replace("head.fc.", "head.")] = tensor
    return renamed


def torchvision_swin(width=12, depths=DEPTHS, heads=HEADS):
    from torchvision.models.swin_transformer import SwinTransformer

    model = SwinTransformer(
        patch_size=[4, 4],
        embed_dim=width,
        depths=list(depths),
        num_heads=list(heads),
        window_size=[7, 7],
        num_classes=5,
    )
    return randomised(model)


def small_swin_unet(channels=3, windows=(7, 7, 7, 7)):
    strides = [[1, 1], [4, 4], [2, 2], [2, 2], [2, 2]]
    arguments = {"embed_dim": 12, "depths": DEPTHS, "num_heads": HEADS, "window_sizes": windows, "carry": "none"}
    return SwinUnet(channels, 4, strides=strides, **arguments).eval()


def small_da_transunet(poolings=4, grid=(4, 4), **options):
    options = {"hidden_size": 48, "num_layers": 2, "num_heads": 3, "mlp_dim": 96, "resnet_width": 32} | options
    layers = {"resnet_layers": (1, 2, 1)[: poolings - 1], "decoder_channels": (12, 16, 24, 32)[:poolings]}
    strides = [[1, 1]] + [[2, 2]] * poolings
    return DATransUnet(
        3, 4, strides=strides, grid_size=grid, bottleneck_channels=32, carry="none", **layers, **options
    ).eval()


def google_file(vit, resnet=None, grid=4):
    """Google's layout, written from a timm ViT and, for the hybrid, one of our ResNets."""
    arrays = {}

    def put(name, tensor):
        arrays[name] = tensor.detach().numpy()

    for i, block in enumerate(vit.blocks):
        base = f"Transformer/encoderblock_{i}/"
        heads, dim = block.attn.num_heads, vit.embed_dim
        for j, name in enumerate(("query", "key", "value")):
            weight, bias = block.attn.qkv.weight[j * dim : (j + 1) * dim], block.attn.qkv.bias[j * dim : (j + 1) * dim]
            put(f"{base}MultiHeadDotProductAttention_1/{name}/kernel", weight.T.reshape(dim, heads, -1))
            put(f"{base}MultiHeadDotProductAttention_1/{name}/bias", bias.reshape(heads, -1))
        put(f"{base}MultiHeadDotProductAttention_1/out/kernel", block.attn.proj.weight.T.reshape(heads, -1, dim))
        put(f"{base}MultiHeadDotProductAttention_1/out/bias", block.attn.proj.bias)
        for k, layer in enumerate((block.mlp.fc1, block.mlp.fc2)):
            put(f"{base}MlpBlock_3/Dense_{k}/kernel", layer.weight.T)
            put(f"{base}MlpBlock_3/Dense_{k}/bias", layer.bias)
        for name, norm in (("LayerNorm_0", block.norm1), ("LayerNorm_2", block.norm2)):
            put(f"{base}{name}/scale", norm.weight)
            put(f"{base}{name}/bias", norm.bias)
    put("Transformer/encoder_norm/scale", vit.norm.weight)
    put("Transformer/encoder_norm/bias", vit.norm.bias)
    put("Transformer/posembed_input/pos_embedding", vit.pos_embed)
    put("cls", vit.cls_token)
    put("head/kernel", vit.head.weight.T)
    put("head/bias", vit.head.bias)
    put("embedding/kernel", vit.patch_embed.proj.weight.permute(2, 3, 1, 0))
    put("embedding/bias", vit.patch_embed.proj.bias)
    if resnet is not None:
        put_resnet(put, resnet)
    return arrays


def put_resnet(put, resnet):
    put("conv_root/kernel", resnet.root[0].weight.permute(2, 3, 1, 0))
    put("gn_root/scale", resnet.root[1].weight)
    put("gn_root/bias", resnet.root[1].bias)
    for s, stage in enumerate(resnet.stages):
        for u, unit in enumerate(stage):
            base = f"block{s + 1}/unit{u + 1}/"
            parts = [(f"conv{i + 1}", f"gn{i + 1}", unit.residual[3 * i], unit.residual[3 * i + 1]) for i in range(3)]
            if not isinstance(unit.shortcut, torch.nn.Identity):
                parts.append(("conv_proj", "gn_proj", unit.shortcut[0], unit.shortcut[1]))
            for conv, norm, c, n in parts:
                put(f"{base}{conv}/kernel", c.weight.permute(2, 3, 1, 0))
                put(f"{base}{norm}/scale", n.weight.view(1, 1, 1, -1))  # so shaped in Google's hybrid files
                put(f"{base}{norm}/bias", n.bias.view(1, 1, 1, -1))


def small_vit(patch=16, channels=3, size=64):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vit = timm.models.vision_transformer.VisionTransformer(
            img_size=size,
            patch_size=patch,
            in_chans=channels,
            embed_dim=48,
            depth=2,
            num_heads=3,
            mlp_ratio=2.0,
            num_classes=5,
        )
    return randomised(vit)


def openmmlab_names(state):
    """The names, and the order of merged sub-lattices, that OpenMMLab gives to Microsoft's weights."""
    renamed = {}
    for name, tensor in microsoft_names(state).items():
        if name.startswith("head."):
            continue
        if ".downsample." in name:  # sub-lattices by columns, outside -> by rows, inside
            tensor = tensor.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :].transpose(-2, -1).flatten(-2)
        name = name.replace("layers.", "stages.").replace("patch_embed.proj.", "patch_embed.projection.")
        name = name.replace(".attn.", ".attn.w_msa.")
        renamed[name.replace(".mlp.fc1.", ".ffn.layers.0.0.").replace(".mlp.fc2.", ".ffn.layers.1.")] = tensor
    return renamed


def output_norms(state):
    """A detector's backbone: a norm at the output of each stage instead of the classifier's."""
    renamed = {n: t for n, t in state.items() if not n.startswith(("norm.", "head."))}
    for stage in range(4):
        width = 12 * 2**stage
        renamed[f"norm{stage}.weight"] = torch.full((width,), float(stage + 2))
        renamed[f"norm{stage}.bias"] = torch.full((width,), float(-stage - 2))
    return renamed


def _golden(kind, network, arguments, **changed):
    case = golden_cases(kind)[0]
    arguments = arguments(case.config["constructor"], recurrent=case.recurrent) | changed
    return case.state_dict(), lambda: network(**arguments)


def _google(hybrid):
    donor = randomised(small_da_transunet())
    vit = small_vit(patch=1, channels=donor.encoder.resnet.channels[-1], size=4) if hybrid else small_vit()
    arrays = google_file(vit, donor.encoder.resnet if hybrid else None)
    return {n: torch.from_numpy(a) for n, a in arrays.items()}, small_da_transunet


def timm_hybrid():
    """timm's R50+ViT in small, with the widths of :func:`small_da_transunet`."""
    backbone = timm.models.resnetv2.ResNetV2(
        layers=(1, 2, 1),
        channels=(128, 256, 512),
        stem_chs=32,
        num_classes=0,
        global_pool="",
        preact=False,
        stem_type="same",
        conv_layer=timm.layers.StdConv2dSame,
    )
    embed = functools.partial(timm.models.vision_transformer_hybrid.HybridEmbed, backbone=backbone)
    sizes = {"embed_dim": 48, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0, "num_classes": 5}
    vit = timm.models.vision_transformer.VisionTransformer
    return randomised(vit(img_size=64, patch_size=1, embed_layer=embed, **sizes))


def _primus():
    from dynamic_network_architectures.architectures.primus import Primus as PublishedPrimus

    more = {"init_values": 0.1, "scale_attn_inner": True}
    source = PublishedPrimus(1, 48, (8, 8, 8), 4, eva_depth=2, eva_numheads=2, input_shape=(16, 16, 16), **more)
    sizes = {"version": 1, "embed_dim": 48, "depth": 2, "num_heads": 2, "stem_channels": (), "grid_size": (2, 2, 2)}
    build = functools.partial(Primus, 1, 3, strides=[[1] * 3] + [[2] * 3] * 3, carry="none", **sizes)
    return randomised(source).state_dict(), build


#: layout -> its state dict, and what builds a network of ours that takes it
LAYOUTS = {
    "SwinUNETR": lambda: (monai_network().state_dict(), our_network),
    "SwinUNETR encoder": lambda: (self_supervised(monai_network(), ""), our_network),
    "nnFormer": lambda: _golden("NnFormer", NnFormer, nnformer.published_arguments, index_scheme="exact"),
    "Swin-Unet": lambda: _golden("SwinUnet", SwinUnet, swin_unet.published_arguments),
    "Swin of timm": lambda: (timm_swin().state_dict(), small_swin_unet),
    "Swin of Microsoft": lambda: (microsoft_names(timm_swin().state_dict()), small_swin_unet),
    "Swin of torchvision": lambda: (torchvision_swin().state_dict(), small_swin_unet),
    "Swin of OpenMMLab": lambda: (output_norms(openmmlab_names(timm_swin().state_dict())), small_swin_unet),
    "Swin of detectors": lambda: (output_norms(microsoft_names(timm_swin().state_dict())), small_swin_unet),
    "Primus": _primus,
    "DA-TransUNet": lambda: _golden("DATransUnet", DATransUnet, da_transunet.published_arguments),
    "ViT of timm": lambda: (small_vit().state_dict(), small_da_transunet),
    "R50+ViT of timm": lambda: (timm_hybrid().state_dict(), small_da_transunet),
    "ViT of Google": lambda: _google(hybrid=False),
    "R50+ViT of Google": lambda: _google(hybrid=True),
}


@functools.cache
def published(layout):
    """(state dict, function that builds the network), made once."""
    return LAYOUTS[layout]()
