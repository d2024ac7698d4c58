"""The cases, in the order of the table."""

from benchmarks.case import Case
from benchmarks.cases import categories, coreset, encoding, metrics, scaling, search, startup

CASES: dict[str, Case] = {
    case.name: case
    for module in (encoding, coreset, search, categories, metrics, scaling, startup)
    for case in module.CASES
}
