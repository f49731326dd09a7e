"""Verdicts of made-up numbers, on both sides of each threshold."""

from typing import Any

import pytest

from experiments import k1_address_space as k1
from experiments.frame import CONFIRMED, REFUTED


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, CONFIRMED),
        ({"read_kernel": "exit 0"}, REFUTED),
        ({"write_from_kernel": "1 byte"}, REFUTED),
    ],
)
def test_k1_the_kernel_half_is_refused(changed: dict[str, Any], verdict: str) -> None:
    numbers = {
        "kernel_address": "0xffffffff81000000",
        "read_kernel": "SIGSEGV",
        "read_own": "exit 0",
        "write_from_kernel": "EFAULT",
        "write_from_own": "1 byte",
        "highest_mapping": "0x7ffc35d01000",
        "user_bits": 47,
    }
    found = k1.judge({**numbers, **changed})
    assert [each.verdict for each in found] == [verdict]
    assert "128 TiB" in found[0].scope
