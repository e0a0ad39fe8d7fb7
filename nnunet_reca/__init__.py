"""nnunet_reca: Recurrent-Attention (RecA) transformers as a plugin for nnU-Net v2.

This module stays free of imports: every Python start-up reaches it through the discovery hook.
"""

__version__ = "0.1.0"
