"""All sweeps in processes of their own, and a table of what they came to: `tools/faults --help`."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed

from tools._python import arguments as accepted
from tools._python.faults.parts import PARTS, Result, run_share


def sweep(part: str, match: str, every: int, processes: int, shown: int) -> list[Result]:
    """All shares of a part whose names have `match` in them; each is told when it is done."""
    shares = [share for share in PARTS[part].shares if match in share]
    results: list[Result] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        running = [pool.submit(run_share, part, share, every) for share in shares]
        for done in as_completed(running):
            result = done.result()
            results.append(result)
            print(
                f"{part:8}{result.name:34}{result.tried:9,}{len(result.faults):8,}"
                f"{result.seconds:8.0f} s  {result.note}",
                flush=True,
            )
            for fault in result.faults[:shown]:
                print(f"    {fault}", flush=True)
    return results


def main() -> int:
    """Read the arguments and run."""
    parser = accepted.faults()
    given = parser.parse_args()
    unknown = set(given.parts) - PARTS.keys()
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}: take {', '.join(PARTS)}")
    table: list[str] = []
    wrong = 0
    print(f"{'part':8}{'share':34}{'tried':>9}{'faults':>8}{'time':>10}")
    for name in given.parts or PARTS:
        results = sweep(name, given.match, given.every, given.processes, given.shown)
        tried, faults = sum(one.tried for one in results), sum(len(one.faults) for one in results)
        wrong += faults
        table.append(f"{PARTS[name].what:34}{tried:11,}{faults:8,}")
    print(f"\n{'':34}{'tried':>11}{'faults':>8}", *table, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
