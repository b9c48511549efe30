# SPDX-License-Identifier: Apache-2.0
"""Make as many calls as the first argument says, eight at a time, and print their response ids."""

import sys
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

import microdollar


def main() -> None:
    """Every fifth call is for nobody."""
    client = OpenAI(max_retries=0)

    def call(number: int) -> str:
        def ask() -> str:
            answer = client.chat.completions.create(
                model="gpt-6-luna", messages=[{"role": "user", "content": f"Call {number}"}]
            )
            return answer.id

        if number % 5 == 0:
            return ask()
        with microdollar.customer(f"customer-{number % 5}", user=f"user-{number}"):
            return ask()

    with ThreadPoolExecutor(8) as pool:
        for response_id in pool.map(call, range(int(sys.argv[1]))):
            print(response_id, flush=True)


if __name__ == "__main__":
    main()
