"""W10, in a process of its own: import an adapter, open its file, run the first query."""

import sys


def main() -> None:
    """Imports no more than the adapter does."""
    _, module, file, task = sys.argv
    adapter = __import__(f"tools._python.bench.{module}", fromlist=["Adapter"]).Adapter()
    if module == "with_cwstore_async":
        import asyncio

        async def once() -> object:
            await adapter.open(file)
            found = await adapter.find(task)
            await adapter.close()
            return found

        found = asyncio.run(once())
    else:
        adapter.open(file)
        found = adapter.find(task)
        adapter.close()
    if not found:
        raise SystemExit("the first query found nothing")


main()
