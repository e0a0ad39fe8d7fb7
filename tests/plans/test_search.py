import pytest

from nnunet_reca.plans.search import largest_fitting


class Counted:
    """Memory of a size by its index; counts what was asked."""

    def __init__(self, sizes, memory):
        self.sizes, self.memory, self.asked = sizes, memory, []

    def __call__(self, index):
        self.asked.append(index)
        return self.memory(self.sizes[index])


@pytest.mark.parametrize("first", [(0, 2), (0, 1), (4998, 0)])
@pytest.mark.parametrize("target", [1000 + 7 * 2, 1000 + 7 * 13 + 3, 1000 + 7 * 4999, 1000 + 7 * 5000, 10**9])
def test_linear_growth_takes_few_estimates_and_the_next_size_does_not_fit(target, first):
    batches = range(2, 5001)
    memory = Counted(batches, lambda batch: 1000 + 7 * batch)
    found = largest_fitting(batches, memory, target, first=first)
    assert 1000 + 7 * batches[found] <= target
    assert found == len(batches) - 1 or 1000 + 7 * batches[found + 1] > target
    assert len(memory.asked) == len(set(memory.asked)) <= 5


@pytest.mark.parametrize("target", range(0, 1300, 90))
def test_growth_by_steps_and_curves_still_ends_at_a_size_that_fits_before_one_that_does_not(target):
    sizes = [8, 12, 30, 31, 64, 100, 128, 200, 301, 512, 900]

    def grows(size):
        return 100 + size + 200 * (size > 50) + (size**2) // 900

    memory = Counted(sizes, grows)
    found = largest_fitting(sizes, memory, target, first=(len(sizes) - 1, 0))
    if found is None:
        assert grows(8) > target
    else:
        assert grows(sizes[found]) <= target and (found == len(sizes) - 1 or grows(sizes[found + 1]) > target)
    assert len(memory.asked) <= 9


def test_memory_that_does_not_grow_everywhere_gives_a_size_that_fits():
    sizes, memory = [1, 2, 3, 4, 5, 6], [10, 30, 20, 45, 35, 90]
    found = largest_fitting(sizes, memory.__getitem__, 36, first=(5, 0))
    assert memory[found] <= 36
