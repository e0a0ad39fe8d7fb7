"""How the stock nnU-Net commands find the trainers: a shim directory, appended to ``nnUNet_extTrainer`` at start-up.

Installation puts ``nnunet_reca.pth`` (``nnunet_reca.start`` from Python 3.15 on) into site-packages; it calls
:func:`register`. nnU-Net then imports the one module of the shim directory, which re-exports the trainers from the
installed package.
"""

import os

#: Set to anything but 0 or nothing, it keeps the start-up hook from touching the environment.
OPT_OUT_VARIABLE = "NNUNET_RECA_NO_DISCOVERY"
VARIABLE = "nnUNet_extTrainer"


def shim_directory() -> str:
    """The directory for ``export nnUNet_extTrainer=...`` where the start-up hook does not run."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "shim")


def register() -> None:
    """Append the shim directory to ``nnUNet_extTrainer``, after the user's own entries, unless opted out."""
    if os.environ.get(OPT_OUT_VARIABLE, "0") not in ("", "0"):
        return
    entries = [entry for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry.strip()]
    if shim_directory() not in entries:
        os.environ[VARIABLE] = os.pathsep.join([*entries, shim_directory()])
