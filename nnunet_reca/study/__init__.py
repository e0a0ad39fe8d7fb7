"""Many trainings: a Snakemake workflow over nnU-Net's commands that survives kills and runs where the machines are.

``spec`` says what is asked for, ``jobs`` which steps that makes, ``states`` which of them nnU-Net's own files show as
done. The ``Snakefile`` runs the others, each inside ``guard``. Snakemake sees small records, never nnU-Net's files.
"""
