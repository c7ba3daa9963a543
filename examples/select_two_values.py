"""One consumer of two values: it takes whichever has news, without a task for each."""

from __future__ import annotations

import trio

from trio_event import MemoryValue, select


async def show(temperature: MemoryValue[float], door: MemoryValue[str]) -> None:
    """Print each value's newest state until the door is locked."""
    with temperature.watch() as degrees, door.watch() as position:
        while True:
            match await select(temperature=degrees, door=position):
                case "temperature", float(value):
                    print(f"it is {value:.1f} degrees")
                case "door", str(value):
                    print(f"the door is {value}")
                    if value == "locked":
                        return


async def main() -> None:
    """Set the values, faster than they can be shown and slower."""
    temperature = MemoryValue(21.0)
    door: MemoryValue[str] = MemoryValue()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(show, temperature, door)
        await trio.sleep(0.1)
        for degrees in (20.5, 20.0, 19.5):
            temperature.set(degrees)  # three sets before the consumer runs: it sees the last
        await trio.sleep(0.1)
        door.set("closed")
        await trio.sleep(0.1)
        door.set("locked")


if __name__ == "__main__":
    trio.run(main)
