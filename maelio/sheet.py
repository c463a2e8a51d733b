"""Nanoseconds by region, a row a step: what a ledger writes into while it runs."""

from array import array

_ROWS = 1024  # by which it grows


class Sheet:
    """Rows of whole nanoseconds; `row` is the one that is written. `totals`: of all rows, by region."""

    def __init__(self, regions: int) -> None:
        self.row = 0
        self.totals = [0] * regions
        self._regions = regions
        self._more = bytes(8 * _ROWS * regions)
        self._ns = array("q", self._more)

    def add(self, region: int, ns: int) -> None:
        self.add_to(self.row, region, ns)

    def add_to(self, row: int, region: int, ns: int) -> None:
        self._ns[row * self._regions + region] += ns
        self.totals[region] += ns

    def turn(self) -> None:
        """Begin the next row."""
        self.row += 1
        if (self.row + 1) * self._regions > len(self._ns):
            self._ns.frombytes(self._more)

    def of(self, row: int) -> list[int]:
        return self._ns[row * self._regions : (row + 1) * self._regions].tolist()
