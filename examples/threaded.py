"""Count three times, each time on a thread of its own."""

import threading
import time


def count():
    print("One")
    time.sleep(1)
    print("Two")


def main():
    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
