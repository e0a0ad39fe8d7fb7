"""What a trained model's folder holds, read once: names, labels, images, validations, logs; and folders of our own.

Used by ``report``, ``explain`` and ``weights``, which know nothing of each other.
"""
