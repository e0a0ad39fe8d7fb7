from support.golden_io import NETWORKS, OPERATORS, all_golden_cases, golden_cases


def test_golden_cases_all_belong_to_a_test():
    known = {name for names in (*NETWORKS.values(), *OPERATORS.values()) for name in names}
    assert {case.published_class for case in all_golden_cases()} <= known


def test_golden_cases_of_every_kind_are_committed():
    for kind in (*NETWORKS, *OPERATORS):
        assert golden_cases(kind), kind
