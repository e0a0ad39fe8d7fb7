"""Environment variables that trainings read. Free of imports that take time."""

import os

#: Shortens epochs, for tests and quick looks.
ITERATIONS_VARIABLE = "nnUNet_reca_iterations_per_epoch"
#: Makes trainings repeatable: seeds the initial weights and, anew, every epoch. Data loaders in other processes are not
#: seeded; ``nnUNet_n_proc_DA=0`` loads in this one.
SEED_VARIABLE = "nnUNet_reca_seed"
#: Threads of a training on the CPU, where nnU-Net takes one for each core.
THREADS_VARIABLE = "nnUNet_reca_threads"
#: variable -> its smallest value
SMALLEST = {ITERATIONS_VARIABLE: 1, SEED_VARIABLE: 0, THREADS_VARIABLE: 1}


def whole_number(variable: str) -> int | None:
    """Value of one of our variables, None where it is not set.

    Raises:
        ValueError: if it is no whole number, or below its smallest value.
    """
    value = os.environ.get(variable)
    if not value:
        return None
    if not value.isdecimal() or int(value) < SMALLEST[variable]:
        raise ValueError(
            f"expected {variable} to be a whole number of at least {SMALLEST[variable]}, got {value!r}; unset it"
        )
    return int(value)
