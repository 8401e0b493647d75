"""Count three times, each time in a process of its own."""

import time
from concurrent.futures import ProcessPoolExecutor


def count():
    print("One")
    time.sleep(1)
    print("Two")


def main():
    with ProcessPoolExecutor(max_workers=3) as pool:
        for _ in range(3):
            pool.submit(count)


if __name__ == "__main__":
    main()
