"""What the tests of features train more than once."""

VOLUMES, SLICES = "nnUNetTrainerSwinUNETRReca_tiny_1epochs", "nnUNetTrainerSwinUnetReca_tiny_1epochs"
#: trainer and configuration of the cross-validation
MODELS = ((VOLUMES, "3d_fullres"), (SLICES, "2d"))
#: inherits all but batch and patch size, which changes its windows too
SMALL = {"inherits_from": "3d_fullres", "batch_size": 3, "patch_size": [24, 32, 40]}
