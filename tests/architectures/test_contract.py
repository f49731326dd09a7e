"""The contract, straight. Through the gateway and through nginx it is asked in tests/chain."""

from servers.app import contract
from servers.common.registry import SPECS, Spec
from tests.support.architectures import each, running


@each
def test_it_keeps_the_contract(spec: Spec) -> None:
    told = dict(spec.exceptions)
    with running(spec) as server:
        failures = {f.name: str(f) for f in contract.verify(server.url)}
    assert failures.keys() == told.keys(), [failures.get(name, name) for name in failures]


def test_exceptions_name_checks_and_say_why() -> None:
    names = {check.name for check in contract.checks()}
    for spec in SPECS.values():
        for name, why in spec.exceptions:
            assert name in names, spec.name
            assert why
            assert spec.family == "third-party", f"{spec.name} is ours: it keeps the whole contract"
